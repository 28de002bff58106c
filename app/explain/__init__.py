"""The How it works page, and the presentation: six steps on the visitor's own picture."""
