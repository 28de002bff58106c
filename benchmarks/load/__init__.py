"""Load on the demo, by visitors who speak Gradio's own protocol. Loopback only; start: `python -m benchmarks.load`."""
