"""Names that all pages share: what metrics and parts of the split are called, and which metrics lead."""

from __future__ import annotations

PARTS = {"train": "training", "val": "validation", "test": "test", "unused": "unused"}
"""Parts of the split as they are called in sentences and table heads."""
RANKING = ("auroc", "average_precision")
"""Metrics of the ranking, which need no threshold."""
DECISIONS = {
    "multilabel": ("f1", "sensitivity", "specificity", "mcc"),
    "multiclass": ("accuracy", "balanced_accuracy", "f1", "mcc"),
}
"""Metrics of the decisions that lead, by task."""
GRADES = ("qwk", "grades_off", "within_one")
"""Metrics of ordered classes, which lead the decisions where there are any."""
LABELS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "f1": "F1",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "mcc": "MCC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "kappa": "Kappa",
    "log_loss": "Log-loss",
    "log_loss_calibrated": "Log-loss, calibrated",
    "brier_calibrated": "Brier score, calibrated",
    "qwk": "QWK",
    "grades_off": "MAE, grades",
    "within_one": "Within one grade",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "bias": "Bias",
    "loa_low": "Lower limit of agreement",
    "loa_high": "Upper limit of agreement",
    "ccc": "CCC",
    "coverage": "Coverage",
    "dice": "Dice",
    "iou": "IoU",
    "surface_dice": "Surface Dice",
    "hd95": "Hausdorff distance (95 %), px",
    "false_alarm": "False alarms",
}
"""What metrics are called in table heads."""


def macro(metric: str) -> str:
    """Return what the mean of `metric` over classes is called in a sentence."""
    return {"auroc": "macro AUROC", "f1": "macro F1", "dice": "Dice", "r2": "R²"}.get(metric, LABELS[metric].lower())
