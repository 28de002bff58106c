"""One exception for everything a caller can put right; its message is one sentence that says how."""


class InputError(ValueError):
    """Bad input: the picture, the question, a setting or a model name. Safe to show to a visitor as it is."""


class OutOfMemory(InputError):
    """The device's memory did not suffice; what the run held has been freed."""
