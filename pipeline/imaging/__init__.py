"""From published image files to one uint8 array: decode, enhance, find identical images, write."""
