"""The ground that every room stands on: runs, files and tables between stages, params.yaml, errors. No torch."""
