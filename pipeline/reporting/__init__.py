"""The reports, one page per file; `pipeline.reporting.registry` lists them. Imports nothing: its settings live here."""
