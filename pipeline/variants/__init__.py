"""Variants of a study: the same models, losses and seeds on another split, or on other pictures of the same images.

The folds of a cross-validation are variants, and so is a study without CLAHE beside the one with it. A variant is
trained, evaluated and combined by the stages of the study, in a workplace that looks to them like a project
(`study.workplaces`).
"""
