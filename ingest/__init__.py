"""Floor 2: change events become rows, and rows become the index."""
