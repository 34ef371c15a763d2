"""Floor 0: the words every stage shares."""
