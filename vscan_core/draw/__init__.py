"""Token maps out: no widgets, no plots."""
