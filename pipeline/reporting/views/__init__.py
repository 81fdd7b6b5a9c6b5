"""The facts of every page: numbers, names and figures. The sentences are in the templates of `pages/`."""
