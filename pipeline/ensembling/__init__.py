"""Combining training runs: their predictions by several methods, or their features by a new head.

Modules
-------
combiners
    The methods of combining, as they are applied.
fitting
    Each method fitted on the validation part.
sets
    Which training runs are combined, and which results compared.
predictions
    The predictions of the whole study read, combined, scored.
features
    A feature ensemble: one linear head on the features of several networks.
"""
