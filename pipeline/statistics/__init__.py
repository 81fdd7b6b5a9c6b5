"""What a set of predictions is worth and how sure that is: arrays in, tables out.

Modules
-------
metrics
    The registry of metrics, each a function of sums that are linear in the weights of patients.
thresholds
    Logits to probabilities, and the decision thresholds that the validation part chooses.
bootstrap
    Resampling of patients and the intervals that follow, refused where there are too few of them.
seeds
    Whether training seeds (or other paired columns) differ by more than the sample's noise.
evaluation
    All of it for one recipe, as the rows of metrics.csv.

Nothing here knows of files, parameters or torch.
"""
