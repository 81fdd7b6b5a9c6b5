"""Drawn chest radiographs in the layout of ChestX-ray14, see `dataset`."""
