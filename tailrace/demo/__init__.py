"""The main job on the embedded default: a sample shop, a story of changes, and the answers to it."""
