"""Images of one's own with a table of labels, see `dataset`."""
