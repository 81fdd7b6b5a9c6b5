"""Running a study's training runs side by side: processes, the order of the work, DVC's cache, progress."""
