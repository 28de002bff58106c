"""The folder that is pushed to a Space: what is in it, what the Hub would refuse, and the settings it starts with."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import space
from deploy.assemble import PUSHED, assembled, parsed_options, tracked_files
from deploy.card import joined_card, split_card
from deploy.check_space import LFS, large_files, requirement_faults, space_faults
from vscan_core.catalog import MODELS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def made(folder: Path, *options: str) -> Path:
    """The Space's folder, from this checkout as it is."""
    assembled(folder, parsed_options([str(folder), "--untracked", *options]))
    return folder


@pytest.fixture(scope="module")
def pushed(tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("space"))


@pytest.fixture
def small(tmp_path) -> Path:
    """A folder with nothing wrong in it, small enough to be spoilt."""
    card, _ = split_card(README)
    (tmp_path / "README.md").write_text(joined_card(card, "\n# VScan\n"))
    (tmp_path / "space.py").write_text("print('starts')\n")
    (tmp_path / "requirements.txt").write_text(f"gradio=={card['sdk_version']}\n")
    (tmp_path / ".gitattributes").write_text(f"*.png {LFS}\n")
    return tmp_path


def changed(folder: Path, **values: object) -> Path:
    """The folder with other values in its card; None takes a key away."""
    card, rest = split_card((folder / "README.md").read_text())
    card = {name: value for name, value in (card | values).items() if value is not None}
    (folder / "README.md").write_text(joined_card(card, rest))
    return folder


def test_what_is_pushed_is_complete_and_accepted(pushed) -> None:
    assert space_faults(pushed) == []
    tops = {path.name for path in pushed.iterdir()}
    assert tops == {name.partition("/")[0] for name in PUSHED} | {".gitattributes"}
    assert (pushed / "assets/mini/config.json").read_bytes() == (ROOT / "assets/mini/config.json").read_bytes()
    rest = (pushed / "README.md").read_text(encoding="utf-8")
    assert all((pushed / picture).is_file() for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", rest))


def test_the_card_names_models_that_the_demo_offers() -> None:
    card, _ = split_card(README)
    assert {*card["models"], *card["preload_from_hub"]} <= MODELS.keys()
    assert all(MODELS[name].billions < 1 for name in card["preload_from_hub"]), "a CPU Space answers with it"


def test_the_operator_names_model_hardware_and_picture(tmp_path) -> None:
    options = ("--model", "some/model", "--hardware", "t4-small", "--space", "me/vscan")
    card, rest = split_card((made(tmp_path, *options) / "README.md").read_text(encoding="utf-8"))
    assert card["models"] == card["preload_from_hub"] == ["some/model"]
    assert card["suggested_hardware"] == "t4-small" and "/me/vscan/" in card["thumbnail"]
    assert rest == split_card(README)[1], "the text below the card is the repository's"


def test_a_docker_space_brings_what_its_image_is_built_from(tmp_path) -> None:
    folder = made(tmp_path, "--docker")
    card, _ = split_card((folder / "README.md").read_text(encoding="utf-8"))
    assert card["sdk"] == "docker" and card["app_port"] == 7860 and "app_file" not in card
    assert (folder / "Dockerfile").is_file() and (folder / "deploy/torch_apart.py").is_file()
    assert space_faults(folder) == []


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"short_description": "x" * 61}, "short_description has more than 60 characters."),
        ({"sdk": "streamlit"}, "choose gradio or docker"),
        ({"app_file": "gone.py"}, "app_file 'gone.py' is not among the files."),
        ({"python_version": None}, "python_version is missing."),
        ({"python_version": 3.12}, "python_version has to be a str"),
        ({"sdk_version": "6.0.0"}, "sdk_version is 6.0.0, but requirements.txt pins gradio"),
        ({"suggested_hardware": "h200"}, "suggested_hardware 'h200' is not one of"),
        ({"colorTo": "mauve"}, "colorTo has to be one of"),
        ({"thumbnail": "docs/screenshot.png"}, "thumbnail has to be an address"),
        ({"emojii": "x"}, "emojii is no key that the Hub knows."),
    ],
)
def test_a_wrong_card_is_said_in_one_sentence(small, values, sentence) -> None:
    assert space_faults(small) == []
    (fault,) = space_faults(changed(small, **values))
    assert sentence in fault


@pytest.mark.parametrize("name", [".env", "app/__pycache__/x.pyc", ".git/config"])
def test_what_must_not_be_pushed_is_found(small, name) -> None:
    (small / name).parent.mkdir(parents=True, exist_ok=True)
    (small / name).write_text("text")
    assert space_faults(small) == [f"{name} must not be pushed."]


def test_binary_and_large_files_need_lfs(small) -> None:
    (small / "a.png").write_bytes(b"\0")
    assert space_faults(small) == [], "covered by .gitattributes"
    (small / "b.bin").write_bytes(b"\0")
    (small / "c.txt").write_bytes(b"x" * 10_000_001)
    assert large_files(small) == [("c.txt", 10_000_001)]
    assert [fault.split()[0] for fault in space_faults(small)] == ["b.bin", "c.txt"]


def test_other_damage_is_found(small) -> None:
    (small / "link.py").symlink_to(small / "space.py")
    (small / "broken.py").write_text("def\n")
    assert [fault.split()[0] for fault in space_faults(small)] == ["link.py", "broken.py"]
    (small / "README.md").write_text("# No card\n")
    assert space_faults(small) == ["README.md does not begin with a card between two lines of three hyphens."]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("numpy>=2", "numpy>=2 is not pinned to one version."),
        ("pytest==9.2.0", "pytest is a tool for tests."),
        ("pydantic==2.14.4", "pydantic is pinned, but the Hub installs gradio[mcp] beside it"),
    ],
)
def test_requirements_that_a_space_cannot_have(line, sentence) -> None:
    assert requirement_faults("gradio==6.31.0  # the page\n", "6.31.0") == []
    (fault,) = requirement_faults(f"gradio==6.31.0\n{line}\n", "6.31.0")
    assert sentence in fault


def test_only_what_git_tracks_is_pushed(tmp_path) -> None:
    for name in ("app/page.py", "app/new.py", "app/ignored.log", "space.py", "tests/test.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / ".gitignore").write_text("*.log\n")
    for command in (["init", "-q"], ["add", "app/page.py", "space.py", "tests"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    assert tracked_files(tmp_path, ("app", "space.py")) == ["app/page.py", "space.py"]
    assert "app/new.py" in tracked_files(tmp_path, ("app",), untracked=True)
    with pytest.raises(ValueError, match="git tracks no file vscan_core"):
        tracked_files(tmp_path, ("app", "vscan_core"))


def test_a_folder_with_something_in_it_is_left_alone(small) -> None:
    with pytest.raises(ValueError, match="is not empty; name a new folder"):
        made(small)


def test_a_space_starts_open_and_behind_the_hubs_proxy(monkeypatch) -> None:
    from app.server.settings import Settings

    for name in space.space_defaults():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPACE_HOST", "me-vscan.hf.space")
    monkeypatch.setenv("VSCAN_PORT", "8000")
    for name, value in space.space_defaults().items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    assert (settings.host, settings.port, settings.is_public) == ("0.0.0.0", 8000, True)
    assert settings.trusted_hosts == ("me-vscan.hf.space",)


def test_the_app_file_starts_the_demo_from_a_folder_that_knows_no_checkout(pushed) -> None:
    """The cheap half of `python -m deploy.assemble FOLDER --full`, which also installs and asks."""
    command = [sys.executable, "-P", "space.py", "--help"]
    done = subprocess.run(command, cwd=pushed, capture_output=True, text=True, env={"PYTHONPATH": str(pushed)})
    assert done.returncode == 0 and "--model" in done.stdout, done.stderr
