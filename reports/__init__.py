"""Records of a run, what they add up to, and the pages people read. Never imports torch."""
