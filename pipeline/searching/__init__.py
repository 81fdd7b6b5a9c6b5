"""The search of settings of training: each trial a training run in DVC's cache, compared by validation alone."""
