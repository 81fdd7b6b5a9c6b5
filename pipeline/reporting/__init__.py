"""The reports: pages, their facts, and their figures."""
