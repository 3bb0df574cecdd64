"""The identity that the user configured in flags, environment or file."""

from __future__ import annotations

import re

from epochcost.model import Node
from epochcost.nodes.label import label_text
from epochcost.nodes.node_source import NodeError

SETTINGS = {
    "node": "node.name",
    "provider": "node.provider",
    "region": "node.region",
    "zone": "node.zone",
    "instance_type": "node.instance-type",
    "reservation": "node.reservation",
    "team": "node.team",
}
"""What the user calls each field."""


class ConfiguredSource:
    """What was configured, made safe for labels; raises where it cannot be."""

    name = "configured"

    def __init__(self, configured: Node) -> None:
        self._configured = configured

    def identify(self) -> Node:
        """The configured node.

        Raises:
            NodeError: naming the setting, its value and what is allowed.
        """
        node = self._configured
        provider = _safe(node, "provider").lower()
        if not re.fullmatch(r"([a-z0-9][a-z0-9._-]*)?", provider):
            raise NodeError(f"node.provider: {provider!r}: expected a word such as aws, gcp, azure or owned")
        region, zone, instance_type = (_safe(node, field) for field in ("region", "zone", "instance_type"))
        any_field = any((provider, region, zone, instance_type, node.purchase_option))
        return Node(
            node=_safe(node, "node"),
            provider=provider,
            region=region,
            zone=zone,
            instance_type=instance_type,
            purchase_option=node.purchase_option,
            source=self.name if any_field else "",
            reservation=_safe(node, "reservation"),
            team=_safe(node, "team"),
        )


def _safe(node: Node, field: str) -> str:
    return label_text(getattr(node, field), SETTINGS[field])
