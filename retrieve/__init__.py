"""Floor 2: fresh hits joined with the latest rows, as of one stated position."""
