"""Write the folder that is pushed to a Hugging Face Space, and check it: python -m deploy.assemble FOLDER.

Nothing gets in but what git tracks below the names listed here. Then: hf upload --repo-type space USER/NAME FOLDER .
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from .card import joined_card, split_card
from .check_space import LFS, TEST_TOOLS, binary_suffixes, report_space

ROOT = Path(__file__).parents[1]
PUSHED = (
    *("README.md", "LICENSE", "SECURITY.md", "space.py", "requirements.txt"),
    *("app", "vscan_core", "vscan_eval", "assets"),
    *("docs/screenshot.png", "docs/slider.webp"),  # in README.md
)
PUSHED_FOR_DOCKER = ("Dockerfile", ".dockerignore", "requirements.lock", "requirements-kernels.lock", "deploy")


def tracked_files(root: Path, names: tuple[str, ...], untracked: bool = False) -> list[str]:
    """Paths below `names` that git tracks; with `untracked` also new files that it does not ignore.

    Raises ValueError if a name stands for no file.
    """
    command = ["git", "ls-files", "-z", "--cached", *(["--others", "--exclude-standard"] if untracked else []), "--"]
    listed = subprocess.run([*command, *names], cwd=root, check=True, capture_output=True, text=True).stdout
    found = sorted({path for path in listed.split("\0") if path and (root / path).is_file()})
    for name in names:
        if not any(path == name or path.startswith(f"{name}/") for path in found):
            raise ValueError(f"git tracks no file {name}; commit it first, or add --untracked to try it before.")
    return found


def changed_card(card: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The card for this Space: its model, hardware, picture and kind."""
    changed = {**card}
    if options.model:
        changed |= {"models": [options.model], "preload_from_hub": [options.model]}
    if options.hardware:
        changed["suggested_hardware"] = options.hardware
    if options.space:
        changed["thumbnail"] = f"https://huggingface.co/spaces/{options.space}/resolve/main/docs/screenshot.png"
    if options.docker:
        changed["sdk"] = "docker"
        for name in ("sdk_version", "python_version", "app_file", "preload_from_hub"):
            changed.pop(name, None)
    else:
        changed.pop("app_port", None)
    return changed


def assembled(folder: Path, options: argparse.Namespace, root: Path = ROOT) -> None:
    """Fill an empty or new folder. Raises ValueError if it is neither."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name a new folder.")
    names = (*PUSHED, *PUSHED_FOR_DOCKER) if options.docker else PUSHED
    for path in tracked_files(root, names, options.untracked):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, folder / path)
    readme = folder / "README.md"
    card, rest = split_card(readme.read_text(encoding="utf-8"))
    readme.write_text(joined_card(changed_card(card, options), rest), encoding="utf-8")
    pins = folder / "requirements.txt"
    lines = pins.read_text(encoding="utf-8").splitlines(keepends=True)
    pins.write_text("".join(line for line in lines if not TEST_TOOLS.match(line)), encoding="utf-8")
    kept = (root / ".gitattributes").read_text(encoding="utf-8")
    large = "".join(f"*{suffix} {LFS}\n" for suffix in binary_suffixes(folder))
    (folder / ".gitattributes").write_text(f"{kept}# the Hub refuses binary files outside Git LFS\n{large}", "utf-8")


def parsed_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.assemble", description="The folder of a Hugging Face Space."
    )
    parser.add_argument("folder", type=Path, help="new or empty")
    parser.add_argument("--space", help="USER/NAME of the Space, for the picture that is shown where it is shared")
    parser.add_argument("--model", help="a model on the Hub that is fetched when the Space is built")
    parser.add_argument("--hardware", help="suggested to those who duplicate the Space, such as t4-small")
    parser.add_argument("--docker", action="store_true", help="a Space that builds the Dockerfile")
    parser.add_argument("--untracked", action="store_true", help="take new files that git does not ignore, too")
    parser.add_argument("--full", action="store_true", help="also install it in an empty environment and ask it")
    parser.add_argument("--python", default=sys.executable, help="the Python of that environment")
    return parser.parse_args(arguments)


def main() -> None:
    """Assemble, check, and say what was found."""
    options = parsed_options()
    try:
        assembled(options.folder, options)
    except ValueError as error:
        sys.exit(str(error))
    faults = report_space(options.folder)
    if options.full and not faults:
        from .try_space import tried_space

        faults = tried_space(options.folder, options.python)
    for fault in faults:
        print(f"wrong: {fault}", file=sys.stderr)
    if options.model:
        print(f"In the Space's settings, set the variable VSCAN_MODEL to {options.model}.")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
