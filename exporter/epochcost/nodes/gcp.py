"""Google Compute Engine: the metadata server."""

from __future__ import annotations

from epochcost.http_client import OK
from epochcost.model import Node, PreemptionNotice, PurchaseOption
from epochcost.nodes.exchange import MetadataError, Service

ADDRESS = "http://169.254.169.254"
BASE = "/computeMetadata/v1/instance"
ZONE_PATH = f"{BASE}/zone"
TYPE_PATH = f"{BASE}/machine-type"
SCHEDULING_PATH = f"{BASE}/scheduling/?recursive=true"
"""Only this much of the tree: what lies beside it may contain a project's secrets."""
PREEMPTED_PATH = f"{BASE}/preempted"
RESERVATION_PATH = f"{BASE}/attributes/epochcost-reservation"
FLAVOR = {"Metadata-Flavor": "Google"}

OPTIONS = {
    "STANDARD": PurchaseOption.ON_DEMAND,
    "SPOT": PurchaseOption.SPOT,
    "RESERVATION_BOUND": PurchaseOption.RESERVED,
}


class GcpMetadata:
    """Queries ``url``, and accepts only responses with the header that identifies the real server."""

    name = "gcp"

    def __init__(self, url: str = "") -> None:
        self._service = Service("Google Cloud metadata", url or ADDRESS)

    def identify(self, deadline: float) -> Node:
        """Region, zone, type and purchase option of this machine.

        Raises:
            MetadataError: when the server does not respond as documented.
        """
        zone = self._last_part(ZONE_PATH, "zones", deadline)
        region, dash, _ = zone.rpartition("-")
        if not dash:
            raise MetadataError(f"{self._service.name}: GET {ZONE_PATH}: {zone[:40]!r} is not a zone of a region")
        instance_type = self._last_part(TYPE_PATH, "machineTypes", deadline)
        option = self._option(deadline)
        reservation = self._reservation(deadline) if option is PurchaseOption.RESERVED else ""
        return Node("", "gcp", region, zone, instance_type, option, self.name, reservation)

    def _reservation(self, deadline: float) -> str:
        """The value of an attribute of the machine; the server itself does not name the reservation."""
        answer = self._service.ask(RESERVATION_PATH, FLAVOR, deadline)
        ours = answer.status == OK and answer.headers.get("metadata-flavor") == "Google"
        return self._service.decoded(answer, RESERVATION_PATH) if ours else ""

    def notice(self, deadline: float) -> PreemptionNotice | None:
        """The preemption in progress (Google gives 30 s), else None.

        Raises:
            MetadataError: when the server does not respond as documented.
        """
        response = self._text(PREEMPTED_PATH, deadline)
        if response not in ("TRUE", "FALSE"):
            raise MetadataError(f"{self._service.name}: GET {PREEMPTED_PATH}: {response[:40]!r}, not TRUE or FALSE")
        return PreemptionNotice("interruption", "preempted") if response == "TRUE" else None

    def _option(self, deadline: float) -> PurchaseOption | None:
        """A model that is not known here (``FLEX_START``) has a price of its own, so it is not guessed."""
        response = self._service.parsed(self._text(SCHEDULING_PATH, deadline), SCHEDULING_PATH)
        model = response.get("provisioningModel")
        if isinstance(model, str) and model:
            return OPTIONS.get(model.upper())
        preemptible = str(response.get("preemptible", "")).upper()
        return {"TRUE": PurchaseOption.SPOT, "FALSE": PurchaseOption.ON_DEMAND}.get(preemptible)

    def _last_part(self, path: str, collection: str, deadline: float) -> str:
        """``projects/123/zones/us-central1-a`` -> ``us-central1-a``."""
        text = self._text(path, deadline)
        head, _, last = text.rpartition("/")
        if not last or head.rpartition("/")[2] != collection:
            raise MetadataError(f"{self._service.name}: GET {path}: {text[:60]!r} is not a name in {collection}")
        return last

    def _text(self, path: str, deadline: float) -> str:
        answer = self._service.ask(path, FLAVOR, deadline)
        if answer.status != OK or answer.headers.get("metadata-flavor") != "Google":
            raise MetadataError(
                f"{self._service.name}: GET {path}: HTTP {answer.status}"
                f"{'' if 'metadata-flavor' in answer.headers else ' without the header Metadata-Flavor: Google'}"
            )
        return self._service.decoded(answer, path)
