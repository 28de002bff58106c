"""The Sweep page: one method at several retentions, on one picture and one question."""
