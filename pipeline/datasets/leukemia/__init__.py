"""Acute lymphoblastic leukaemia in blood smears, see `dataset`."""
