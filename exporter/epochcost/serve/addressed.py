"""Whether a request is meant for this server: a browser can be led to loopback under any name."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from epochcost.serve.messages import Request, Response, text

HOSTS = Path("/etc/hosts")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


def misdirected(request: Request, local_address: str) -> Response | None:
    """The refusal of a request from a page of another site, or for another host; None for a good one.

    Args:
        request: its head.
        local_address: where the connection came in. On loopback only this machine's own names are accepted: a foreign
            name that resolves to this address (DNS rebinding) makes the attacker's page the same origin as ours.
    """
    host, origin = request.headers.get("host", ""), request.headers.get("origin", "")
    if host and _is_loopback(local_address) and not is_ours(host):
        return text(421, "on loopback this server accepts only addresses, localhost and the names of its machine")
    if origin and (urlsplit_host(origin) != host.lower() or origin.strip().lower() == "null"):
        return text(403, "requests from pages of other sites are not allowed")
    return None


def is_ours(host: str) -> bool:
    """Whether the value of a Host header names this machine by an address or by a name of its own."""
    parts = _HOST.fullmatch(host)
    if parts is None:
        return False
    name = parts[1].lower().rstrip(".")
    return _is_address(name.strip("[]")) or name == "localhost" or name in own_names()


def urlsplit_host(origin: str) -> str:
    """Host and port of an Origin header, in lower case; for ``null`` and nonsense, something that is not a host."""
    try:
        return urlsplit(origin).netloc.lower() or "null"
    except ValueError:
        return "null"


@lru_cache(maxsize=1)
def own_names(hosts: Path = HOSTS) -> frozenset[str]:
    """This machine's own names. No name server is queried: it might hang, or be the attacker's."""
    names = {os.uname().nodename.lower(), socket.gethostname().lower()}
    try:
        with hosts.open("rb") as file:
            lines = file.read(1 << 20).decode("utf-8", "replace").lower().splitlines()
    except OSError:
        lines = []
    for line in lines:
        address, *called = line.partition("#")[0].split() or [""]
        if _is_loopback(address) or names & set(called):
            names.update(called)
    return frozenset(name for name in names if name)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
