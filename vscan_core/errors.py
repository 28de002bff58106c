"""One exception for everything a caller can put right; its message is one sentence that says how."""

LONGEST = 200  # characters of another library's message


class InputError(ValueError):
    """Bad input: the picture, the question, a setting or a model name. Safe to show to a visitor as it is."""


class OutOfMemory(InputError):
    """The device's memory did not suffice; what the run held has been freed."""


class ServerFailure(InputError):
    """A server that was asked for an answer cannot be reached, failed, or sent something that is none."""


def first_line(error: BaseException) -> str:
    """What a library's exception says, in a form to be quoted in a sentence: its first line, without the full stop."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "").rstrip(".:")
    line = line if len(line) <= LONGEST else f"{line[:LONGEST]}..."
    told = isinstance(error, (OSError, ValueError, RuntimeError, ImportError)) and line
    return line if told else f"{type(error).__name__}: {line}".rstrip(": ")
