"""Reindex by replay, as operators drive it: wishes are written to the log, workers fulfil them."""
