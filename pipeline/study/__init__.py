"""The base layer that every package imports: runs, files and tables between stages, params.yaml, errors. No torch."""
