"""A model is downloaded from a Hub: a small server that speaks its protocol, slowly, and the real client."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.app.conftest import MINI

MODEL = "HuggingFaceTB/SmolVLM2-256M-Video-Instruct"  # the name only: the files are the embedded model's
COMMIT = "a" * 40
SECONDS = 2.0  # for the weights
FILES = {file.name: file for file in Path(MINI).iterdir() if file.is_file()}
ASKED = f"""
import json, sys
from app.session.engine import Engine
from app.session.session import Session
from app.ui.inputs import menu
from app.ui.model_loading import loading
session = Session(Engine())
labels = {{name: label for label, name in menu(session)}}
steps = list(loading(session, {MODEL!r}, poll_s=0.1))
print(json.dumps([labels[{MODEL!r}], steps, session.models.ready({MODEL!r})]))
"""


class SlowHub(BaseHTTPRequestHandler):
    """What the client of the Hub asks for, for one model."""

    def do_HEAD(self) -> None:
        self._answer(False)

    def do_GET(self) -> None:
        self._answer(True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path == "/":
            self._send(b"", {})
        elif path.startswith(f"/api/models/{MODEL}"):
            siblings = [{"rfilename": name, "size": file.stat().st_size} for name, file in FILES.items()]
            tree = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0"} for name, file in FILES.items()
            ]
            found = tree if "/tree/" in path else {"id": MODEL, "sha": COMMIT, "siblings": siblings}
            self._send(json.dumps(found).encode(), {"Content-Type": "application/json"})
        elif "/resolve/" in path and name in FILES:
            content = FILES[name].read_bytes()
            tag = hashlib.sha256(content).hexdigest()
            headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(content))}
            self._send(content, headers, body=body, slow=name.endswith(".safetensors"))
        else:
            self._send(b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, status=404)

    def _send(
        self, content: bytes, headers: dict[str, str], status: int = 200, body: bool = True, slow: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        for start in range(0, len(content) if body else 0, 1 << 20):
            self.wfile.write(content[start : start + (1 << 20)])
            if slow:
                time.sleep(SECONDS * (1 << 20) / len(content))

    def log_message(self, *parts: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_download_shows_how_far_it_is_and_ends_with_a_model(hub: str, tmp_path: Path) -> None:
    settings = {**os.environ, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", ASKED], env=settings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    label, steps, ready = json.loads(done.stdout.splitlines()[-1])
    assert "0.5 GB" in label and not label.endswith("not here")
    total = (
        sum(file.stat().st_size for name, file in FILES.items() if name.endswith((".safetensors", ".json", ".jinja")))
        / 1e9
    )
    seen = [step for step in steps if "<progress" in step]
    assert len(seen) >= 3 and all(f"of {total:.2f} GB" in step for step in seen)
    arrived = [float(step.partition('value="')[2].partition('"')[0]) for step in seen]
    assert arrived == sorted(arrived) and arrived[0] < 0.7 * total and arrived[-1] > 0.3 * total
    assert "<progress" not in steps[-1] and "Loading" not in steps[-1] and ready, steps[-1]
