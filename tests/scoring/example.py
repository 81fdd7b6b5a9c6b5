"""Simulated predictions of a part, and rows picked from their metrics."""

import numpy as np

CLASSES = ["Mass", "Edema", "Hernia"]


def part(task, seed, n=240, s=3, n_patients=60, k=3):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, k)) < [0.4, 0.2, 0.02][:k]).astype(np.uint8)
    if task == "multiclass":
        targets = np.eye(k, dtype=np.uint8)[rng.choice(k, n, p=[0.6, 0.37, 0.03])]
    shared = rng.normal(size=(n, k)) + targets
    logits = (shared + 0.3 * rng.normal(size=(s, n, k))).astype(np.float32)
    return logits, targets, np.array([f"p{i}" for i in rng.integers(0, n_patients, n)])


def pick(metrics, **where):
    for column, value in where.items():
        metrics = metrics[metrics[column.rstrip("_")] == value]
    return metrics
