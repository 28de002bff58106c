"""`vscan_core.images` of 0.1: its place is now `vscan_core.media.images`."""

from vscan_core.media.images import as_rgb, open_image

__all__ = ["as_rgb", "open_image"]
