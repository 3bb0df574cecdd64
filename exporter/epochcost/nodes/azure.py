"""Microsoft Azure: the instance metadata service and its scheduled events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from epochcost.http_client import http_date
from epochcost.model import Node, PreemptionNotice, PurchaseOption
from epochcost.nodes.exchange import MetadataError, Service

ADDRESS = "http://169.254.169.254"
COMPUTE_PATH = "/metadata/instance/compute?api-version=2020-09-01&format=json"
"""The newest version of the API that does not yet return the user data of the machine."""
EVENTS_PATH = "/metadata/scheduledevents?api-version=2020-07-01"
HEADERS = {"Metadata": "true"}
RESERVATION_TAG = "epochcost-reservation"
TAKEN_AWAY = ("Preempt", "Terminate")
"""After a scheduled event of another kind (Reboot, Freeze, Redeploy) the machine returns."""

OPTIONS = {
    "spot": PurchaseOption.SPOT,
    "low": PurchaseOption.SPOT,
    "regular": PurchaseOption.ON_DEMAND,
    "": PurchaseOption.ON_DEMAND,
}
"""By priority; a machine made without one has none, and is a regular one."""


class AzureMetadata:
    """Queries ``url``."""

    name = "azure"

    def __init__(self, url: str = "") -> None:
        self._service = Service("Azure instance metadata", url or ADDRESS)
        self._machine = ""

    def identify(self, deadline: float) -> Node:
        """Region, zone (``eastus-1``; empty if the machine is in none), size and purchase option.

        Raises:
            MetadataError: when the service does not respond as documented.
        """
        compute = self._service.document(COMPUTE_PATH, HEADERS, deadline)
        location, size = compute.get("location"), compute.get("vmSize")
        zone, priority = compute.get("zone", ""), compute.get("priority")
        if not (isinstance(location, str) and location and isinstance(size, str) and size and isinstance(zone, str)):
            raise MetadataError(
                f"{self._service.name}: no location or vmSize: {location!r}, {size!r}, zone {zone!r}"[:300]
            )
        option = OPTIONS.get(priority.lower()) if isinstance(priority, str) else None
        place = location, f"{location}-{zone}" if zone else ""
        return Node("", "azure", *place, size, option, self.name, _reservation(compute.get("tagsList")))

    def notice(self, deadline: float) -> PreemptionNotice | None:
        """The eviction or deletion scheduled for this machine, else None.

        The events of a whole scale set come to each of its machines, so the machine's own name is requested first.

        Raises:
            MetadataError: when the service does not respond as documented. Its first response may take two minutes.
        """
        if not self._machine:
            self._machine = str(self._service.document(COMPUTE_PATH, HEADERS, deadline).get("name", ""))
        answer = self._service.ask(EVENTS_PATH, HEADERS, deadline)
        events = self._service.held(answer, EVENTS_PATH).get("Events")
        if not isinstance(events, list):
            raise MetadataError(f"{self._service.name}: GET {EVENTS_PATH}: no list of Events")
        mine = [event for event in events if isinstance(event, dict) and self._is_mine(event)]
        if not mine:
            return None
        # NotBefore is empty once the event has begun.
        return PreemptionNotice(
            "interruption",
            str(mine[0]["EventType"]).lower(),
            http_date(mine[0].get("NotBefore")),
            provider_clock=self._service.clock(answer),
        )

    def _is_mine(self, event: Mapping[str, Any]) -> bool:
        resources = event.get("Resources")
        if event.get("EventType") not in TAKEN_AWAY or not isinstance(resources, list):
            return False
        # Scale sets name their machines set_0, and events have been seen with a leading underscore.
        return self._machine in (str(name).removeprefix("_") for name in resources)


def _reservation(tags: object) -> str:
    """The value of a tag of the machine; the service itself does not name the reservation."""
    rows = tags if isinstance(tags, list) else []
    values = [row.get("value") for row in rows if isinstance(row, dict) and row.get("name") == RESERVATION_TAG]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""
