"""One question about several pictures."""
