"""Reasons to doubt a result.

Modules
-------
gates
    Signs of a training run that learned nothing, and of labels that do not belong to their images.
signs
    The training runs of a study, shown to the gates.
probes
    What can be told of the labels without reading the images.
mistakes
    Wrong decisions, and what a probability is worth.
"""
