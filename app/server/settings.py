"""What an operator can set: by flag, by environment variable (VSCAN_PORT for --port) or in a file `.env`.

A flag wins over the environment, which wins over `.env`. What is not set is safe for a public host.
"""

from __future__ import annotations

import argparse
import difflib
import ipaddress
import os
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

VARIABLE_PREFIX = "VSCAN_"
ENV_FILE = ".env"  # in the folder in which the demo starts
SWITCHES = ("public", "mcp")  # --public and --no-public
WITHOUT_FLAG = "login"  # no flag: every user of the computer can read the flags of a process


def _listed(value: Any) -> Any:
    """Names with commas between them, as a tuple."""
    return tuple(name.strip() for name in value.split(",") if name.strip()) if isinstance(value, str) else value


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]


class Settings(BaseSettings):
    """All settings of the demo; `docs/deploy.md` has them as a table. Raises pydantic's ValidationError."""

    model_config = SettingsConfigDict(
        env_prefix=VARIABLE_PREFIX,
        env_file=ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    host: str = Field("127.0.0.1", description="address to listen on; 127.0.0.1 is this computer only")
    port: int = Field(7860, ge=1, le=65535, description="port to listen on")
    model: str = Field(
        "mini", min_length=1, description="model that is chosen first; see `python -m vscan_core models`"
    )
    models: Listed | None = Field(
        None,
        description="models that visitors may choose, with commas between them; not set: all that fit the machine, on "
        "a public host without those with random weights",
    )
    public: bool | None = Field(
        None, description="whether strangers may come; not set: yes, unless only this computer can reach the address"
    )
    login: SecretStr | None = Field(
        None, description="user:password that a visitor must give; not set: the page is open (has no flag)"
    )
    trusted_hosts: Listed = Field(
        (),
        description="host names under which the demo is reached, with commas between them; not set: any on a public "
        "host, else those of this computer",
    )
    trusted_proxies: Listed = Field(
        (),
        description="addresses or networks of the proxies whose X-Forwarded headers are believed, with commas between "
        "them, or * if nothing else can reach the port; not set: none",
    )
    max_queue: int = Field(500, ge=1, description="events that may wait at a time, of all visitors together")
    runs_per_visitor: int = Field(2, ge=1, description="runs of one visitor at a time, the waiting ones included")
    runs_of_programs: int = Field(
        8, ge=1, le=64, description="runs at a time of all programs of one network address, the waiting ones included"
    )
    requests_per_minute: int = Field(60, ge=1, description="runs that one visitor may start in a minute")
    uploads_mb_per_visitor: int = Field(300, ge=1, description="megabytes of uploads kept for one network address")
    disk_mb: int = Field(2000, ge=1, description="megabytes of uploads kept for all visitors together")
    answer_seconds: float = Field(300, gt=0, description="seconds after which a run is ended")
    answer_tokens: int = Field(
        256, ge=1, description="length limit of an answer at /v1/chat/completions; a request for more is refused"
    )
    mcp: bool = Field(False, description="whether /mcp serves MCP clients; needs the extra `mcp`")
    upload_seconds: float = Field(90, gt=0, description="seconds that an upload may take to arrive")
    drain_seconds: float = Field(
        8, ge=0, description="seconds that answers under way have left after SIGTERM; `docker stop` kills after ten"
    )
    memory_floor_mb: int = Field(256, ge=0, description="megabytes of free memory below which /readyz says no")
    disk_floor_mb: int = Field(256, ge=0, description="megabytes of free disk below which /readyz says no")
    log_format: Literal["text", "json"] | None = Field(
        None, description="text, or json: one object a line, without anything that visitors sent; not set: json on a "
        "public host"
    )  # fmt: skip

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name != "*":
                ipaddress.ip_network(name, strict=False)
        return names

    @field_validator("login")
    @classmethod
    def _is_a_pair(cls, login: SecretStr | None) -> SecretStr | None:
        user, _, password = (login.get_secret_value() if login else "a:b").partition(":")
        if not user or not password:
            raise ValueError("give a user and a password with a colon between them")
        return login

    @property
    def is_public(self) -> bool:
        """Whether strangers may come."""
        return not _is_loopback(self.host) if self.public is None else self.public

    @property
    def logs_json(self) -> bool:
        """Whether log lines are JSON."""
        return self.log_format == "json" or (self.log_format is None and self.is_public)

    @property
    def login_pair(self) -> tuple[str, str] | None:
        """User and password, if there is a login."""
        user, _, password = (self.login.get_secret_value() if self.login else "").partition(":")
        return (user, password) if self.login else None

    def offered(self, names: Iterable[str]) -> tuple[str, ...]:
        """Those of the known models that visitors may choose, the default one always.

        Raises ValueError, one sentence, if the list of models names one that is not known.
        """
        from vscan_core.catalog import is_random  # late: it imports torch, and --help does not need that

        known = tuple(names)
        for name in self.models or ():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise ValueError(f"there is no model {name[:60]!r}" + (f"; is it {near[0]!r}?" if near else "."))
        closed = () if not self.is_public else tuple(filter(is_random, known))
        chosen = self.models if self.models is not None else [name for name in known if name not in closed]
        return tuple(name for name in known if name in chosen or name == self.model)


def parsed_settings(arguments: Sequence[str] | None = None, program: str | None = None) -> tuple[Settings, Any]:
    """The settings, and the parser of the flags, whose `error` says what is wrong and ends the program.

    The library's own command line is not used: it shows Python's types in place of words.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description="The VScan demo in your browser.",
        epilog=f"Flags are also environment variables ({VARIABLE_PREFIX}PORT for --port), and lines of {ENV_FILE}.",
    )
    for name, about in Settings.model_fields.items():
        if name != WITHOUT_FLAG:
            yes_or_no: Any = {"action": argparse.BooleanOptionalAction} if name in SWITCHES else {"metavar": "X"}
            default = "" if about.default in (None, ()) else f" (default: {about.default})"
            words = f"{about.description}{default}".replace("%", "%%")
            parser.add_argument(flag_of(name), dest=name, default=argparse.SUPPRESS, help=words, **yes_or_no)
    given = vars(parser.parse_args(arguments))
    try:
        return Settings(**given), parser
    except ValidationError as error:
        first = error.errors()[0]
        name, message = str(first["loc"][0]), str(first["msg"]).removeprefix("Value error, ")
        parser.error(f"{flag_of(name)} ({VARIABLE_PREFIX}{name.upper()}) cannot be used: {message}")
    except (OSError, UnicodeDecodeError):
        parser.error(f"the file {ENV_FILE} cannot be read; correct or remove it")


def flag_of(name: str) -> str:
    """ "max_queue" -> "--max-queue"."""
    return f"--{name.replace('_', '-')}"


def unknown_variables() -> list[str]:
    """Variables of the environment that look like settings and are none, one sentence each."""
    known = [f"{VARIABLE_PREFIX}{name.upper()}" for name in Settings.model_fields]
    strange = sorted(name for name in os.environ if name.startswith(VARIABLE_PREFIX) and name not in known)
    near = {name: difflib.get_close_matches(name, known, 1) for name in strange}
    return [f"{name[:60]} is no setting" + (f"; is it {near[name][0]}?" if near[name] else ".") for name in strange]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
