"""Fetch published files: over HTTP (`files`) or from Kaggle (`kaggle`), complete and verified."""
