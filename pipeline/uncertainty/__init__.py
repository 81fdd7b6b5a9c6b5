"""How sure a number is: draws of patients and of seeds, and the intervals and tests that follow.

Modules
-------
bootstrap
    Draws of patients, and metrics under every draw.
intervals
    Intervals from draws and from counts, refused where there are too few patients.
multiplicity
    Tests of many pairs at once.
seeds, seed_suits_class, variance
    Whether and how training seeds differ.
expected
    What to expect of a configuration under any seed.
comparisons
    Configurations and ensembles against each other.
claims
    The probability that "this one is better" is false, and what a study of a size can claim.
stability
    What another seed makes of the same image.
power, sample_size
    Training seeds needed to see a difference; patients needed for a precise test part.
ratios
    Shares and means under the draws, and the interval of a mean over seeds.
conformal
    Prediction sets that hold the truth as often as promised.
improvement
    How likely one is to beat the other.
delong
    AUROC and its error without resampling.

Nothing here knows of files, parameters or torch.
"""
