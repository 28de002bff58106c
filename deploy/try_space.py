"""The expensive check of a Space's folder: an empty environment, what the Hub installs in it, and one question."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from .card import split_card

INSTALLED_BESIDE = (
    "uvicorn>=0.14.0",
    "websockets>=10.4",
    "spaces",
)  # what the Hub installs together with the requirements
READY_S = 300  # for the first answer of a fresh environment
ASK_SPACE = """
import sys
from gradio_client import Client, handle_file
client = Client(sys.argv[1], verbose=False)
texts = client.predict(handle_file(sys.argv[2]), sys.argv[3], 0.2, "mini", "vscan", 16, api_name="/compare")
print(*texts[:2], sep="|")
"""
TRIED_PICTURE, TRIED_QUESTION, TRIED_ANSWER = "assets/examples/scene_60059.png", "What colour is the heart?", "blue"


def tried_space(folder: Path, python: str) -> list[str]:
    """Resolve and install the requirements as the Hub does, start the app file, and ask it; what went wrong."""
    card, _ = split_card((folder / "README.md").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="space-") as made:
        place = Path(made)
        subprocess.run([python, "-m", "venv", str(place / "venv")], check=True)
        own = str(place / "venv" / "bin" / "python")
        wanted = [
            "-r",
            str(folder / "requirements.txt"),
            f"gradio[oauth,mcp]=={card['sdk_version']}",
            *INSTALLED_BESIDE,
        ]
        begun = time.monotonic()
        installed = subprocess.run([own, "-m", "pip", "install", "--quiet", *wanted], capture_output=True, text=True)
        if installed.returncode:
            return [f"The requirements cannot be installed: {installed.stderr.strip()[-1000:]}"]
        checked = subprocess.run([own, "-m", "pip", "check"], capture_output=True, text=True)
        print(f"installed in {time.monotonic() - begun:.0f} s; {checked.stdout.strip()}")
        return _asked(folder.resolve(), own, str(card["app_file"]), place)


def clean_environment(home: Path, port: int) -> dict[str, str]:
    """The variables of a Space that matter here: nothing of the caller's, and no network."""
    return {
        "PATH": os.defpath,
        "HOME": str(home),
        "GRADIO_SERVER_PORT": str(port),
        "VSCAN_HOST": "127.0.0.1",
        "HF_HUB_OFFLINE": "1",
        "GRADIO_TEMP_DIR": str(home / "gradio"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _asked(folder: Path, python: str, app_file: str, home: Path) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    url, settings = f"http://127.0.0.1:{port}", clean_environment(home, port)
    with (home / "log").open("w+") as log:
        pipes: dict[str, Any] = {"stdout": log, "stderr": log}
        space = subprocess.Popen([python, app_file], cwd=folder, env=settings, **pipes)
        try:
            begun = time.monotonic()
            if not _healthy(space, f"{url}/healthz"):
                log.seek(0)
                return [f"{app_file} does not start: {log.read()[-1000:]}"]
            print(f"/healthz answers after {time.monotonic() - begun:.0f} s")
            command = [python, "-c", ASK_SPACE, url, str(folder / TRIED_PICTURE), TRIED_QUESTION]
            asked = subprocess.run(command, env=settings, cwd=home, capture_output=True, text=True, timeout=READY_S)
        finally:
            space.terminate()
            with suppress(subprocess.TimeoutExpired):
                space.wait(60)
            space.kill()
    if asked.returncode or asked.stdout.strip().split("|") != [TRIED_ANSWER, TRIED_ANSWER]:
        return [f"The question is not answered: {(asked.stdout + asked.stderr).strip()[-1000:]}"]
    print(f"{TRIED_QUESTION} {TRIED_ANSWER}; SIGTERM: exit {space.returncode}")
    return [] if space.returncode == 0 else [f"SIGTERM ends it with {space.returncode}, not 0."]


def _healthy(space: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + READY_S
    while space.poll() is None and time.monotonic() < deadline:
        with suppress(URLError, OSError), urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
        time.sleep(0.3)
    return False
