"""What a set of predictions is worth: arrays in, numbers out.

Modules
-------
scored
    Predictions prepared once, and the sums of them under any weights of the patients.
functions
    The metrics: AUROC, F1, calibration error ..., each a function of those sums.
registry
    Every metric by name: what it needs, when it is undefined, how it is averaged.
thresholds
    Logits to probabilities, and the decision thresholds that the validation part chooses.
calibration
    Recalibration fitted on validation, and reliability curves.
logistic
    Log-odds, log-loss and logistic regression.
decision_curve
    Net benefit of acting at a threshold probability.
selective
    The error of the most certain images, and the cut that keeps a share of them.
collapse
    Signs that a training run learned nothing.

Nothing here knows of files, parameters or torch.
"""
