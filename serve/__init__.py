"""Floor 3: evidence becomes an answer."""
