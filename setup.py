"""What pyproject.toml cannot say: in the wheel `app` is called vscan_demo, and `assets` lies inside vscan_core."""

from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup

library = find_packages(include=["vscan_core", "vscan_core.*", "vscan_eval", "vscan_eval.*", "vscan_vllm"])
demo = [name.replace("app", "vscan_demo", 1) for name in find_packages(include=["app", "app.*"])]
data = [f"vscan_core.{name}" for name in find_namespace_packages(include=["assets", "assets.*"])]
setup(
    packages=[*library, *demo, *data],
    package_dir={"vscan_demo": "app", "vscan_core.assets": "assets"},
    long_description=Path("README.md").read_text(encoding="utf-8").split("\n---\n", 1)[-1],  # without the Space's card
    long_description_content_type="text/markdown",
)
