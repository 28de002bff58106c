"""What users install: the wheel, built from a copy, in an environment and a folder that do not know the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import vscan_core as vc
from vscan_core.resources import asset

ROOT = Path(__file__).parents[1]
LEFT_OUT = {"runs", "build", "dist", "screenshots"}  # what a checkout collects at its top; ignored by git, too
PACKAGES = {"vscan_core": "vscan_core", "vscan_eval": "vscan_eval", "vscan_vllm": "vscan_vllm", "vscan_demo": "app"}
MEGABYTES = 40
PICTURE = asset("examples", "scene_60059.png")
QUESTION = "What colour is the heart?"
LIBRARY = """
import sys
from importlib.metadata import entry_points
from pathlib import Path
import vscan_core as vc, vscan_demo, vscan_eval
for module in (vc, vscan_demo, vscan_eval):
    assert Path(module.__file__).is_relative_to(sys.argv[1]), module.__file__
assert vc.load_model("mini").name == "mini"
assert vc.load_model("dummy:llava-small").name == "dummy:llava-small"
(vscan,) = entry_points(group="console_scripts", name="vscan")
vscan.load()(["methods"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from the source distribution, as a release is."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for path in ROOT.iterdir():
        if path.is_dir() and not path.name.startswith(".") and path.name not in LEFT_OUT:
            shutil.copytree(path, copy / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy(path, copy / path.name)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(build, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (found,) = out.glob("*.whl")
    return found


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel in it, and an empty folder to work in."""

    environment: Path
    folder: Path

    @property
    def settings(self) -> dict[str, str]:
        """The variables of a shell in which nobody set a path of Python's."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GRADIO"))}
        return kept | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(self.folder / ".hf")}

    def start(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        """A program of the environment, in the empty folder."""
        command = [str(self.environment / "bin" / program), *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=self.settings, **pipes)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Installed:
    """The wheel alone; what it depends on is taken from this environment, .pth files and so the checkout left aside."""
    found = Installed(tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("empty"))
    venv.create(found.environment, with_pip=False, symlinks=True)
    python = found.environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True)
    (packages,) = found.environment.glob("lib/python*/site-packages")
    dependencies = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (packages / "dependencies.pth").write_text("\n".join(dependencies))
    return found


def test_the_wheel_holds_the_packages_and_every_asset(wheel) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {name.partition("/")[0] for name in names} == set(PACKAGES)
    tracked = {
        f"{package}/{path.relative_to(ROOT / folder).as_posix()}"
        for package, folder in {**PACKAGES, "vscan_core/assets": "assets"}.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set(names) == tracked and {f"{package}/py.typed" for package in PACKAGES} <= tracked
    assert wheel.stat().st_size < MEGABYTES * 1e6


def test_the_wheel_says_what_it_is(wheel) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    assert wheel.name.startswith(f"vscan_core-{vc.__version__}-py3-none-any")
    assert f"\nVersion: {vc.__version__}\n" in metadata and "\nLicense-File: assets/LICENSES.md\n" in metadata
    assert metadata.partition("\n\n")[2].lstrip().startswith("# VScan"), "without the Space's card"
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {vc.__version__}\n" in citation


def test_an_installed_wheel_answers_in_an_empty_folder(installed) -> None:
    arguments_of_ask = ("ask", "--image", str(PICTURE), "--question", QUESTION, "--json")
    runs = {
        "answer": installed.start("vscan", *arguments_of_ask),
        "library": installed.start("python", "-c", LIBRARY, str(installed.environment)),
    }
    with serving(installed) as url:
        assert json.loads(fetched(f"{url}/healthz")) == {"status": "ok"}
        page = fetched(url)
    said = {name: (*run.communicate(timeout=300), run.returncode) for name, run in runs.items()}
    for name, (_, error, status) in said.items():
        assert status == 0, f"{name}: {error}"
    assert json.loads(said["answer"][0])["text"] == "blue"
    assert [line.split()[0] for line in said["library"][0].splitlines()] == list(vc.REDUCERS)
    assert "VScan" in page and "scene_" in page
    assert not [path for path in installed.folder.iterdir() if path.name != ".hf"], "nothing is left in the folder"


def test_the_demo_without_its_extra_says_what_to_install(installed) -> None:
    without = "import sys; sys.modules['gradio'] = None; from vscan_demo.__main__ import main; main()"
    demo = installed.start("python", "-c", without)
    assert "pip install 'vscan-core[demo]'" in demo.communicate(timeout=60)[1] and demo.returncode == 2


def test_pinned_versions_agree() -> None:
    """requirements.lock pins what requirements.txt does, each file by its hash, and names no place to get it from."""
    lock = (ROOT / "requirements.lock").read_text()
    locked = dict(re.findall(r"^(\S+)==([^\s;]+)", lock, re.MULTILINE))
    pinned = dict(re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    assert pinned.pop("pytest") and {name: locked.get(name) for name in pinned} == pinned
    entries = re.split(r"\n(?=\S)", lock)
    assert all("--hash=sha256:" in entry for entry in entries if not entry.startswith("#")) and "://" not in lock


@contextmanager
def serving(installed: Installed) -> Iterator[str]:
    """The address of a demo that has begun to answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    demo = installed.start("vscan-demo", "--port", str(port))
    try:
        deadline = time.monotonic() + 300
        while demo.poll() is None and time.monotonic() < deadline:
            try:
                fetched(f"http://127.0.0.1:{port}/healthz")
                break
            except urllib.error.URLError:
                time.sleep(0.2)
        assert demo.poll() is None, demo.communicate()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        demo.kill()
        demo.communicate()


def fetched(url: str) -> str:
    """What an address answers."""
    with urllib.request.urlopen(url, timeout=10) as response:
        text: str = response.read().decode()
    return text
