"""COVID-19 Radiography Database, see `dataset`."""
