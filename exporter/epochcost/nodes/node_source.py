"""The contract of an identity source: which machine is this?"""

from __future__ import annotations

from typing import Protocol

from epochcost.model import Node, PreemptionNotice


class NodeError(ValueError):
    """A part of the node's identity cannot be used; the text names the part, its value and what is allowed."""


class IdentitySource(Protocol):
    """Something that identifies this machine: a firmware, a cloud's metadata service, a cluster."""

    @property
    def name(self) -> str:
        """Its name in ``SOURCES``."""

    def identify(self) -> Node | None:
        """What this source knows, empty strings for the rest; None when it does not know this machine at all."""


class MetadataSource(Protocol):
    """A service that is queried over a network, until a deadline by the monotonic clock."""

    @property
    def name(self) -> str:
        """How it is called."""

    def identify(self, deadline: float) -> Node:
        """What it knows of this machine, empty strings for the rest.

        Raises:
            NodeError: when it does not respond, or not as documented.
        """


class NoticeSource(Protocol):
    """A service that announces when it takes this machine away."""

    def notice(self, deadline: float) -> PreemptionNotice | None:
        """What is announced now, None when nothing is.

        Raises:
            NodeError: when it does not respond, or not as documented.
        """


class CloudMetadata(MetadataSource, NoticeSource, Protocol):
    """A cloud's metadata service: both."""
