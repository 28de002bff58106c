"""Who asks, and on whose behalf: proxies that are believed, names that are ours, and pages that are not."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from .refusals import Refusal, shortened

HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_.\-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?", re.IGNORECASE)
FORWARDED = (b"forwarded", b"x-real-ip", b"x-gradio-server")  # and all that start with x-forwarded-
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
DEFAULT_PORTS = ("80", "443")
NO_HOST = "The Host header of this request is not a name of a computer."
WRONG_HOST = "This server does not answer to the name {host}."
OTHER_SITE = "This request comes from a page of another site; please use the demo's own page."


class Origins:
    """Judges headers that a client can set freely; raises Refusal."""

    def __init__(self, trusted_hosts: Iterable[str], trusted_proxies: Iterable[str]) -> None:
        proxies = tuple(trusted_proxies)
        self.hosts = {_without_port(host.lower()) for host in trusted_hosts}
        self.networks = [ipaddress.ip_network(each, strict=False) for each in proxies]
        self.forward = ProxyHeadersMiddleware(_nothing, list(proxies))  # type: ignore[arg-type]

    async def settle(self, scope: Scope) -> None:
        """Put what a trusted proxy says into the scope; drop what anybody else says about where a request came from.

        What a proxy says of host and scheme stays, for Gradio to build addresses with; the name is checked like a Host.
        """
        client = scope.get("client")
        headers = [(name, value) for name, value in scope["headers"] if not _tells_an_origin(name)]
        if client and self._is_proxy(client[0]):
            await self.forward(scope, _no_message, _no_answer)  # type: ignore[arg-type]
            told = Headers(scope=scope)
            host = told.get("x-forwarded-host", "").split(",")[0].strip().encode("latin-1")
            scheme = str(scope.get("scheme", "http")).encode()
            if host:
                headers = [(name, value) for name, value in headers if name != b"host"] + [(b"host", host)]
                headers += [(b"x-forwarded-host", host)]
            headers += [(b"x-forwarded-proto", scheme)]
        scope["headers"] = headers

    def check_host(self, scope: Scope) -> None:
        """The Host header is a name, and one of ours if the operator has named them."""
        host = Headers(scope=scope).get("host")
        if host is None:
            return
        if not HOST.fullmatch(host) or not 0 <= int("0" + _port(host)) < 65536:
            raise Refusal(400, "host", NO_HOST)
        if not self._is_ours(host, scope):
            raise Refusal(421, "host", WRONG_HOST.format(host=shortened(host, 60)))

    def check_origin(self, scope: Scope, changes: bool) -> None:
        """No page of another site may ask; programs, which send no Origin, may.

        What changes something is also refused to requests without an Origin that a browser marks as another site's.
        """
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and not self._own_page(origin, headers.get("host", "")):
            raise Refusal(403, "origin", OTHER_SITE)
        if changes and origin is None and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            raise Refusal(403, "origin", OTHER_SITE)

    def _own_page(self, origin: str, host: str) -> bool:
        """Schemes are not compared: behind a proxy that ends TLS, the server cannot know its own."""
        try:
            parts = urlsplit(origin.lower())
            place = _without_default_port(parts.netloc)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not place:
            return False
        return place == _without_default_port(host.lower()) or _without_port(place) in self.hosts

    def _is_ours(self, host: str, scope: Scope) -> bool:
        name = _without_port(host.lower())
        client = scope.get("client")
        at_home = client is not None and _address(client[0]).is_loopback
        return not self.hosts or name in self.hosts or (at_home and name in LOOPBACK_NAMES)

    def _is_proxy(self, host: str) -> bool:
        address = _address(host)
        return any(address.version == network.version and address in network for network in self.networks)


def _tells_an_origin(name: bytes) -> bool:
    return name in FORWARDED or name.startswith(b"x-forwarded-")


def visitor_address(scope: Scope) -> str:
    """Whom a request counts for: its address, or for IPv6 the network that one household has."""
    client = scope.get("client")
    address = _address(client[0] if client else "")
    if address.version == 6 and not address.is_unspecified:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address, 0.0.0.0 for what is none; ::ffff:1.2.3.4 is 1.2.3.4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ipaddress.IPv4Address(0)
    return getattr(address, "ipv4_mapped", None) or address


def _port(host: str) -> str:
    return re.split(r":(?=\d*$)", host)[1] if re.search(r"[^:]:\d*$", host) and not host.endswith("]") else ""


def _without_port(host: str) -> str:
    port = _port(host)
    return host[: -len(port) - 1] if port else host


def _without_default_port(host: str) -> str:
    return _without_port(host) if _port(host) in DEFAULT_PORTS else host


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """ProxyHeadersMiddleware changes the scope and then calls an app; here, nothing is left to do."""


async def _no_message() -> dict[str, str]:
    return {"type": "http.disconnect"}


async def _no_answer(_: object) -> None:
    return None
