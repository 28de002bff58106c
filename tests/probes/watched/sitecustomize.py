"""Loaded by the Python of the demo under test: writes down every host that it looks up or connects to."""

import os
import sys

_REPORT = os.environ.get("PROBES_CONTACTS")


def _note(event, arguments):
    if event == "socket.getaddrinfo":
        place = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        place = arguments[1][0]
    else:
        return
    with open(_REPORT, "a") as file:
        file.write(f"{event} {place!r:.200}\n")


if _REPORT:
    sys.addaudithook(_note)
