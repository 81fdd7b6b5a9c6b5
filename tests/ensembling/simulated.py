"""Simulated members of an ensemble."""

import numpy as np
from scipy.special import expit, softmax

TASKS = ["multilabel", "multiclass"]


def simulated(task, n=240, members=4, classes=3, seed=0, noise=(0.4, 0.8, 1.6, 3.0)):
    """Members that see the same truth under more and more noise; two or three images per patient."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(-0.5, 1.5, (n, classes))
    if task == "multilabel":
        targets = (rng.random((n, classes)) < expit(signal)).astype(np.uint8)
    else:
        targets = np.eye(classes, dtype=np.uint8)[(signal + rng.gumbel(size=signal.shape)).argmax(1)]
    logits = signal + rng.normal(size=(members, n, classes)) * np.array(noise)[:members, None, None]
    return logits.astype(np.float32), targets, np.array([f"p{i // 3}" for i in range(n)])


def link(logits, task):
    values = np.asarray(logits, float)
    return expit(values) if task == "multilabel" else softmax(values, axis=-1)
