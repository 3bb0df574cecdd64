"""Learns which machine this is while the agent already works: nothing waits for a metadata service."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from epochcost.asking_thread import AskingThread
from epochcost.model import Node, PurchaseOption
from epochcost.nodes import filled, is_complete
from epochcost.nodes.metadata import DETECT_SECONDS, detect
from epochcost.nodes.node_source import MetadataSource

log = logging.getLogger(__name__)
FIRST_RETRY_SECONDS = 10.0
LAST_RETRY_SECONDS = 300.0
PARTS = ("provider", "region", "zone", "instance_type")


class IdentityFeed(AskingThread):
    """What is known of this machine: at once what needs no network, the rest when it comes.

    What a source returns is valid until the machine is rebooted, so it is read once and remembered.

    Args:
        known: what is known without a request.
        sources: of the identity, the one that knows most first.
        seconds: for one round of requests.
    """

    def __init__(self, known: Node, sources: Sequence[MetadataSource], seconds: float = DETECT_SECONDS) -> None:
        super().__init__("epochcost-identity")
        self._known = known
        self._sources = () if is_complete(known) else tuple(sources)
        self._seconds = seconds
        self._identities: dict[str, Node] = {}
        self.node = known

    @property
    def settled(self) -> bool:
        """Whether every source has been queried at least once."""
        return not self._missing() or self.last_duration is not None

    def _run(self) -> None:
        wait = FIRST_RETRY_SECONDS
        while not self._stop.is_set() and not self.ask():
            self._stop.wait(wait)
            wait = min(wait * 2, LAST_RETRY_SECONDS)

    def _ask(self) -> bool:
        """Query the sources that have not responded yet; whether all have now."""
        missing = self._missing()
        if not missing:
            return True
        began = time.perf_counter()
        detected = detect(missing, self._seconds)
        self._identities.update(detected.identities)
        error = "; ".join(detected.errors.values())
        if error and error != self.error:
            log.warning("identity: %s", error)
        if detected.identities:
            self._fill()
            log.info("identity: %s", self.node)
        self.error, self.last_duration = error, time.perf_counter() - began
        return not error

    def _missing(self) -> list[MetadataSource]:
        return [source for source in self._sources if source.name not in self._identities]

    def _fill(self) -> None:
        in_order = {
            source.name: self._identities[source.name] for source in self._sources if source.name in self._identities
        }
        self.node = filled(self._known, in_order)

    # -- memory for this boot ----------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What was found, as JSON-able data."""
        return {
            name: [
                *(getattr(node, part) for part in PARTS),
                node.purchase_option.value if node.purchase_option else "",
                node.reservation,
            ]
            for name, node in list(self._identities.items())
        }

    def restored(self, state: Mapping[str, Any]) -> dict[str, Node]:
        """What `state` described earlier in this boot of the machine; nothing is applied yet.

        Raises:
            TypeError, ValueError, AttributeError: when it is not what `state` makes.
        """
        identities = {}
        for name, (provider, region, zone, instance_type, option, *more) in state.items():
            place = (str(provider), str(region), str(zone), str(instance_type))
            reservation = str(more[0]) if more else ""  # earlier versions kept none
            node = Node("", *place, PurchaseOption(option) if option else None, reservation=reservation)
            identities[str(name)] = node
        return identities

    def take(self, identities: Mapping[str, Node]) -> None:
        """Continue with the ``identities`` of an earlier agent."""
        self._identities = dict(identities)
        self._fill()
