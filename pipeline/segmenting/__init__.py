"""Segmentation: networks that give a mask per structure, their training, their scores, and their use elsewhere."""
