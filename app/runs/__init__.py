"""Several runs side by side, for Arena and Sweep: progress, table, exports."""
