"""Pictures and videos in."""
