"""Floor 1: a document becomes points: cutting, encoding, planning, the index seam."""
