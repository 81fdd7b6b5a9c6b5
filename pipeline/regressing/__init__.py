"""A study of a number per image: how it is trained, scored and combined, in the place of classes."""
