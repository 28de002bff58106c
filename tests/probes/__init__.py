"""What a hostile visitor may send, as data, and what must hold whatever is sent. Run with `pytest tests/probes`."""
