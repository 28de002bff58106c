"""The Arena page: several methods side by side, on one picture and one question."""
