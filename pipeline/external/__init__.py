"""External test sets: other data on which the models of a study are tested, never trained and never tuned.

Everything that a model needs besides its logits is carried over from the study's validation part: thresholds,
calibration, members and weights of ensembles. What is fitted on the external set itself, to show what could be gained,
stands apart and is called so.
"""
