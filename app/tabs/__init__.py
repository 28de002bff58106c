"""The page, one part per file. Every part builds its widgets and wires them; decisions are made elsewhere."""
