"""Start the demo: `vscan-demo [--host H] [--port P] [--model mini]`, or `python -m app` in a checkout."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import Any

NEEDS = ("gradio", "plotly")  # what the library alone does without


def launch_options(host: str, port: int) -> dict[str, Any]:
    """Arguments of `Blocks.launch`."""
    from .server import guard
    from .session import examples
    from .ui import theme

    return {
        "server_name": host,
        "server_port": port,
        "theme": theme.theme(),
        "css_paths": theme.style_sheets(),
        "head": theme.page_head(),
        "max_file_size": guard.MAX_FILE,
        "allowed_paths": [str(examples.FOLDER)],
        "app_kwargs": guard.app_kwargs(),
        "show_error": False,
        "footer_links": ["api", "settings"],
        "run_history": False,
        "enable_monitoring": False,
        "state_session_capacity": 200,
        "ssr_mode": False,
        "strict_cors": True,
    }


def main() -> None:
    """Load the model, then open the port."""
    program = f"python -m {__package__}" if sys.argv[0].endswith("__main__.py") else None  # None: the script's own name
    parser = argparse.ArgumentParser(prog=program, description="The VScan demo in your browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this computer only)")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument(
        "--model",
        default=os.environ.get("VSCAN_MODEL") or "mini",
        help="model that is chosen first; see `python -m vscan_core models` (default: $VSCAN_MODEL, or mini)",
    )
    arguments = parser.parse_args()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")

    try:
        from .main import build_app
    except ModuleNotFoundError as error:
        if error.name not in NEEDS:
            raise
        parser.error(f"the demo needs {' and '.join(NEEDS)}; install them with: pip install 'vscan-core[demo]'")
    from vscan_core.errors import InputError

    from .session.engine import Engine
    from .session.session import Session

    session = Session(Engine(), arguments.model)
    try:
        session.model(arguments.model)
    except InputError as error:
        parser.error(str(error))
    try:
        build_app(session).launch(**launch_options(arguments.host, arguments.port))
    except OSError as error:
        parser.error(f"port {arguments.port} on {arguments.host} cannot be used; choose another with --port ({error})")


if __name__ == "__main__":
    main()
