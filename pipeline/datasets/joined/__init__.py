"""Several data sets as one, see `dataset`."""
