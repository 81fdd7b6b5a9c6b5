"""The images of a part, in memory or on disk, in batches, and augmented."""
