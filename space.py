"""What a Gradio Space starts (`app_file` in README.md): the demo, open to everybody, on a CPU, a GPU or ZeroGPU.

Settings are the demo's own, as variables of the Space: VSCAN_MODEL, VSCAN_MODELS, ... (docs/deploy.md).
"""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module

with suppress(ImportError):
    import_module("spaces")  # the Hub installs it; on ZeroGPU it has to come before torch


def space_defaults() -> dict[str, str]:
    """Settings that a Space needs, by variable; what the operator has set stays as it is."""
    found = {
        "VSCAN_HOST": "0.0.0.0",
        "VSCAN_PORT": os.environ.get("GRADIO_SERVER_PORT", "7860"),
        "VSCAN_PUBLIC": "true",
        "VSCAN_TRUSTED_PROXIES": "*",  # nothing but the Hub's proxy reaches the port
    }
    if host := os.environ.get("SPACE_HOST"):
        found["VSCAN_TRUSTED_HOSTS"] = host
    return {name: value for name, value in found.items() if name not in os.environ}


def main() -> None:
    """Start the demo with these settings."""
    os.environ |= space_defaults()
    from app.__main__ import main as demo

    demo()


if __name__ == "__main__":
    main()
