"""Which machine is this: one file a source, one line in `SOURCES` each."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from epochcost.model import Node
from epochcost.nodes.configured import ConfiguredSource
from epochcost.nodes.firmware import DMI, FirmwareSource
from epochcost.nodes.label import label_text
from epochcost.nodes.node_source import IdentitySource, NodeError
from epochcost.shown_text import printable

log = logging.getLogger(__name__)

SOURCES: Mapping[str, Callable[[Path], IdentitySource]] = {
    "firmware": FirmwareSource,
}
"""Identity sources by name, the one that knows most first. Each is made with the directory of firmware strings."""

TEXTS = ("node", "provider", "region", "zone", "instance_type")
FILLED = ("node", "region", "zone", "instance_type", "purchase_option", "reservation")
MAX_HOST_NAME = 64


def identify(
    configured: Node,
    root: Path = DMI,
    sources: Mapping[str, Callable[[Path], IdentitySource]] = SOURCES,
) -> Node:
    """This machine: what was configured, then what each source adds, then the host name.

    A source that sees another provider than the one known so far adds nothing: its region or instance type would be
    that of another machine. ``Node.source`` names where the provider is from, ``configured`` where only the rest is.

    Raises:
        NodeError: when a configured part cannot be a label; sources leave such parts out.
    """
    known = ConfiguredSource(configured).identify()
    for name, factory in sources.items():
        identity = factory(root).identify()
        if identity is not None:
            known = merged(known, safe(identity, name), name)
    return known if known.node else replace(known, node=host_name())


def filled(known: Node, identities: Mapping[str, Node]) -> Node:
    """``known`` with its gaps filled from ``identities`` by source, in that order; see `identify`."""
    for name, node in identities.items():
        known = merged(known, safe(node, name), name)
    return known


def is_complete(node: Node) -> bool:
    """Whether nothing is left to look up."""
    return all(getattr(node, field) for field in (*TEXTS, "purchase_option"))


def safe(node: Node, name: str) -> Node:
    """``node`` without the parts that cannot be labels."""
    parts = (*TEXTS, "reservation")
    texts = {field: _text_or_empty(getattr(node, field), f"{name}: {field}") for field in parts}
    return replace(node, **texts)  # type: ignore[arg-type] # only fields of text are in it


def _text_or_empty(value: str, what: str) -> str:
    try:
        return label_text(value, what)
    except NodeError as err:
        log.warning("left out: %s", err)
        return ""


def merged(known: Node, identity: Node, name: str) -> Node:
    """``known`` with its gaps filled from ``identity``, which source ``name`` returned."""
    if known.provider and identity.provider and known.provider != identity.provider:
        log.warning(
            "%s reports provider %s but %s is configured; using the configured one",
            name,
            identity.provider,
            known.provider,
        )
        return known
    gaps = {field: getattr(identity, field) for field in FILLED if not getattr(known, field)}
    if known.provider or not identity.provider:
        return replace(known, **gaps)
    return replace(known, **gaps, provider=identity.provider, source=name)


def host_name() -> str:
    """This machine's host name as a label: what cannot be shown becomes a question mark; ``unnamed`` without one."""
    return printable(socket.gethostname()).strip()[:MAX_HOST_NAME] or "unnamed"
