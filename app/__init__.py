"""The web demo: a skin over vscan_core. Start it with `python -m app`."""
