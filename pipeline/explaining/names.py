"""What the heat maps of a configuration by a method are called."""

from __future__ import annotations

from pipeline.study.runs import Configuration


def explanation_name(configuration: Configuration, method: str) -> str:
    """Name of the heat maps of a configuration by a method, the same as DVC's ``${key}``."""
    return f"{configuration}-{method}"
