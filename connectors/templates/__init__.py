"""Whole configurations by the name of their database, made of a file's `values`."""
