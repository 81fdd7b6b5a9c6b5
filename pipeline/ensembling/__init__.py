"""Combining the predictions of several training runs."""
