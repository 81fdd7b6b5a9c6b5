"""Images of one's own in class folders, see `dataset`."""
