"""Predictions of trained models, and every number of a configuration, as the rows of metrics.csv.

Modules
-------
predict
    Logits of every part under every trained seed.
part
    A part as it is scored: logits, truth, patients.
evaluation
    All numbers of a configuration.
rows
    The rows of metrics.csv.
subgroups, gaps
    The metrics by sex, view and age, and tests of their differences.
clinical, operating, decision_curves, selection, prediction_sets, quantities
    What a clinic asks: predictive values, net benefit, abstention and prediction sets.
"""
