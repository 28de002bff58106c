"""The Benchmarks page: our own records, and the tables that papers report."""
