"""What the Benchmarks tab shows: our own records, and the tables that papers report. No widget in here."""
