"""Doors for other programs. Nothing here is imported by the library itself."""
