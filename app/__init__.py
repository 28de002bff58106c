"""The web demo: a user interface for vscan_core. Start it with `vscan-demo`, or `python -m app` in a checkout."""
