"""The twelve 2D sets of MedMNIST, see `dataset`."""
