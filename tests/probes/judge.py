"""What must hold, whatever is sent."""

from __future__ import annotations

import re

from tests.probes.probe import Crowding, Found, Probe

MOST_LINE = 4000  # characters of one line in the log
TRACES = ("Traceback (most recent call last)", 'File "/', "site-packages")
SECRETS = ("open-sesame-of-the-probes", "root:x:0:0")
FAILURE = "Something went wrong"


def fault(probe: Probe, found: Found) -> str | None:
    """Why a probe got through, in a few words; None if everything held."""
    return next((reason for reason in _faults(probe, found) if reason), None)


def _faults(probe: Probe, found: Found) -> list[str | None]:
    refused = 400 <= found.status < 500 or bool(found.sentence) or found.status == 0
    words = found.text + found.sentence
    seen = [word for word in (*SECRETS, *probe.unseen) if word in words]
    return [
        found.broken or None,
        f"the server contacted {found.contacts[0]}" if found.contacts else None,
        f"the answer contains {seen[0]!r}" if seen else None,
        "the answer shows a traceback" if any(trace in words for trace in TRACES) else None,
        f"status {found.status}" if found.status >= 500 else None,
        "a failure of the server instead of a sentence" if FAILURE in found.sentence else None,
        "a refusal without a sentence" if found.sentence == "null" else None,
        f"it was answered ({found.status})" if not probe.harmless and not refused else None,
        f"it took {found.seconds:.0f} s" if found.seconds > probe.seconds else None,
        f"memory grew by {found.megabytes:.0f} MB" if found.megabytes > probe.megabytes else None,
        "a page of the visitor's own runs here" if _runs_here(found.text) else None,
        "it is redirected elsewhere" if re.search(r"^location: *(https?:)?[/\\]{2}", found.text, re.I | re.M) else None,
        "a traceback in the log" if TRACES[0] in found.logged else None,
        "a boundless line in the log" if any(len(line) > MOST_LINE for line in found.logged.splitlines()) else None,
    ]


def _runs_here(text: str) -> bool:
    """Whether a browser would run what a visitor has uploaded: it comes as a page, and not as a download."""
    head, _, body = text.partition("\n\n")
    page = re.search(r"^content-type: *(text/html|image/svg|application/xhtml|text/xml)", head, re.I | re.M)
    kept_apart = re.search(r"^content-disposition: *attachment|^content-security-policy: *sandbox", head, re.I | re.M)
    return bool(page) and not kept_apart and "uploaded-by-the-probes" in body


def outcome(probe: Probe, found: Found) -> str:
    """One word for the page."""
    if fault(probe, found):
        return "got through"
    if isinstance(probe.sends, Crowding):
        return "held"
    if found.answered or (200 <= found.status < 400 and not found.sentence):
        return "answered"
    return "refused"
