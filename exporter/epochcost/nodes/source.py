"""What every identity source is: one question, which machine is this?"""

from __future__ import annotations

from typing import Protocol

from epochcost.model import Node


class NodeError(ValueError):
    """A part of the node's identity cannot be used; the text names the part, its value and what is allowed."""


class IdentitySource(Protocol):
    """Something that can say which machine this is: a firmware, a cloud's metadata service, a cluster."""

    @property
    def name(self) -> str:
        """The name under which it stands in ``SOURCES``."""

    def identify(self) -> Node | None:
        """What this source knows, empty strings for the rest; None when it does not know this machine at all."""
