"""The hooks that reduce visual tokens inside an unmodified model, and the state that they share."""
