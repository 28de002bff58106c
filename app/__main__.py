"""Start the demo: `vscan-demo [--host H] [--port P] [--model mini]`, or `python -m app` in a checkout."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from .server.drain import StopSignal
    from .server.operations import Operations

NEEDS = ("gradio", "limits", "plotly", "prometheus_client", "pydantic_settings")  # what the library alone does without
INSTALL = "the demo needs gradio and plotly; install them with: pip install 'vscan-core[demo]'"
start_log = logging.getLogger("app")


def launch_options(host: str, port: int, operations: Operations | None = None) -> dict[str, Any]:
    """Arguments of `Blocks.launch`."""
    from .server import guard
    from .session import examples
    from .ui import events, theme

    return {
        "server_name": host,
        "server_port": port,
        "theme": theme.theme(),
        "css_paths": theme.style_sheets(),
        "head": theme.page_head(),
        "max_file_size": guard.MAX_FILE,
        "max_threads": events.THREADS,
        "allowed_paths": [str(examples.FOLDER)],
        "app_kwargs": operations.app_kwargs() if operations else guard.app_kwargs(),
        "auth": operations.login if operations else None,
        "show_error": False,
        "footer_links": ["api", "settings"],
        "run_history": False,
        "enable_monitoring": False,
        "_frontend": False,  # opens no page to see whether it can: on a busy computer it takes longer than Gradio waits
        "state_session_capacity": 100,  # about a megabyte each
        "ssr_mode": False,
        "strict_cors": True,
    }


def ask_oneself_directly(host: str) -> None:
    """Name this computer among those that need no proxy: Gradio asks its own server once when it starts."""
    for name in ("no_proxy", "NO_PROXY"):
        named = [os.environ[name]] if os.environ.get(name) else []
        os.environ[name] = ",".join([*named, "localhost", "127.0.0.1", "::1", host])


def main() -> None:
    """Load the model, then open the port; SIGTERM ends the process gently."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    program = f"python -m {__package__}" if sys.argv[0].endswith("__main__.py") else None  # None: the script's own name
    try:
        from .server.settings import parsed_settings, unknown_variables

        settings, parser = parsed_settings(program=program)
        if settings.logs_json:
            os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported: its bars are no JSON
        from .server.drain import StopSignal
        from .server.logs import begin_logging
        from .server.memory import share_freed_memory
        from .server.operations import Operations
    except ModuleNotFoundError as error:
        if error.name not in NEEDS:
            raise
        print(f"{program or 'vscan-demo'}: error: {INSTALL}", file=sys.stderr)
        sys.exit(2)
    share_freed_memory()
    stop = StopSignal()
    begin_logging(settings.logs_json)
    for sentence in unknown_variables():
        start_log.warning(sentence)
    try:
        operations = Operations(settings)
        operations.session.model(settings.model)
    except ValueError as error:  # an InputError, too
        parser.error(str(error))
    serve(operations, parser, stop)


def serve(operations: Operations, parser: argparse.ArgumentParser, stop: StopSignal) -> None:
    """Open the port, and close it when the process is asked to stop."""
    from .main import build_app

    settings = operations.settings
    ask_oneself_directly(settings.host)
    demo = build_app(operations.session)
    operations.before_launch(demo)
    options = launch_options(settings.host, settings.port, operations)
    try:
        demo.launch(**options, prevent_thread_lock=True, quiet=settings.logs_json)
    except OSError as error:
        where = f"port {settings.port} on {settings.host}"
        parser.error(f"{where} cannot be used; choose another with --port ({error})")
    operations.serve(demo, stop)


if __name__ == "__main__":
    main()
