"""The web demo: a skin over vscan_core. Start it with `vscan-demo`, or `python -m app` in a checkout."""
