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
        found = factory(root).identify()
        if found is not None:
            known = merged(known, safe(found, name), name)
    return known if known.node else replace(known, node=host_name())


def filled(known: Node, found: Mapping[str, Node]) -> Node:
    """``known`` with its gaps filled from what each source of ``found`` returned, in that order; see `identify`."""
    for name, node in found.items():
        known = merged(known, safe(node, name), name)
    return known


def is_complete(node: Node) -> bool:
    """Whether nothing is left to look up."""
    return all(getattr(node, field) for field in (*TEXTS, "purchase_option"))


def safe(found: Node, name: str) -> Node:
    """``found`` without the parts that cannot be labels."""
    parts = (*TEXTS, "reservation")
    texts = {field: _text_or_empty(getattr(found, field), f"{name}: {field}") for field in parts}
    return replace(found, **texts)  # type: ignore[arg-type] # only fields of text are in it


def _text_or_empty(value: str, what: str) -> str:
    try:
        return label_text(value, what)
    except NodeError as err:
        log.warning("left out: %s", err)
        return ""


def merged(known: Node, found: Node, name: str) -> Node:
    """``known`` with its gaps filled from ``found``, which source ``name`` returned."""
    if known.provider and found.provider and known.provider != found.provider:
        log.warning(
            "%s reports provider %s but %s is configured; using the configured one",
            name,
            found.provider,
            known.provider,
        )
        return known
    gaps = {field: getattr(found, field) for field in FILLED if not getattr(known, field)}
    if known.provider or not found.provider:
        return replace(known, **gaps)
    return replace(known, **gaps, provider=found.provider, source=name)


def host_name() -> str:
    """This machine's host name as a label: what cannot be shown becomes a question mark; ``unnamed`` without one."""
    return printable(socket.gethostname()).strip()[:MAX_HOST_NAME] or "unnamed"
