"""NIH ChestX-ray14, see `dataset`."""
