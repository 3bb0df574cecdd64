"""Amazon EC2: the instance metadata service, version 2 only."""

from __future__ import annotations

import math
from datetime import datetime, timezone

from epochcost.http_client import OK, Answer
from epochcost.model import Node, PreemptionNotice, PurchaseOption
from epochcost.nodes.exchange import NOT_FOUND, MetadataError, Service

ADDRESS = "http://169.254.169.254"
TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
DOCUMENT_PATH = "/latest/dynamic/instance-identity/document"
LIFE_CYCLE_PATH = "/latest/meta-data/instance-life-cycle"
ACTION_PATH = "/latest/meta-data/spot/instance-action"
REBALANCE_PATH = "/latest/meta-data/events/recommendations/rebalance"
RESERVATION_PATH = "/latest/meta-data/tags/instance/epochcost-reservation"
TOKEN_SECONDS = 21600
ACTIONS = ("terminate", "stop", "hibernate")
UNAUTHORIZED = 401

OPTIONS = {
    "on-demand": PurchaseOption.ON_DEMAND,
    "spot": PurchaseOption.SPOT,
    "scheduled": PurchaseOption.RESERVED,
    "capacity-block": PurchaseOption.RESERVED,
}
"""Savings plans and reserved instances are discounts on the bill: the machine itself only knows ``on-demand``."""


class AwsMetadata:
    """Queries ``url``; keeps a session token for as long as the service accepts it."""

    name = "aws"

    def __init__(self, url: str = "") -> None:
        self._service = Service("AWS instance metadata", url or ADDRESS)
        self._token = ""

    def identify(self, deadline: float) -> Node:
        """Region, zone, type and purchase option of this machine.

        Raises:
            MetadataError: when the service does not respond as documented.
        """
        document = self._service.parsed(self._text(DOCUMENT_PATH, deadline), DOCUMENT_PATH)
        parts = {name: document.get(name) for name in ("region", "availabilityZone", "instanceType")}
        if not all(isinstance(part, str) and part for part in parts.values()):
            raise MetadataError(f"{self._service.name}: GET {DOCUMENT_PATH}: no region, zone or type: {parts}"[:300])
        option = OPTIONS.get(self._text(LIFE_CYCLE_PATH, deadline))
        return Node(
            "",
            "aws",
            str(parts["region"]),
            str(parts["availabilityZone"]),
            str(parts["instanceType"]),
            option,
            self.name,
            self._reservation(deadline) if option is PurchaseOption.RESERVED else "",
        )

    def _reservation(self, deadline: float) -> str:
        """The value of a tag of the machine; the service itself does not name the reservation, and tags may be off."""
        answer = self._get(RESERVATION_PATH, deadline)
        return self._service.decoded(answer, RESERVATION_PATH) if answer.status == OK else ""

    def notice(self, deadline: float) -> PreemptionNotice | None:
        """The interruption announced for this machine, else a raised risk of one, else None.

        Raises:
            MetadataError: when the service does not respond as documented.
        """
        action = self._get(ACTION_PATH, deadline)
        if action.status == OK:
            document = self._service.parsed(self._service.decoded(action, ACTION_PATH), ACTION_PATH)
            announced = document.get("action")
            return PreemptionNotice(
                "interruption",
                announced if announced in ACTIONS else "",
                _instant(document.get("time")),
                provider_clock=self._service.clock(action),
            )
        self._absent(action, ACTION_PATH)
        rebalance = self._get(REBALANCE_PATH, deadline)
        if rebalance.status == OK:
            self._service.parsed(self._service.decoded(rebalance, REBALANCE_PATH), REBALANCE_PATH)
            return PreemptionNotice("rebalance", "rebalance")
        self._absent(rebalance, REBALANCE_PATH)
        return None

    def _absent(self, answer: Answer, path: str) -> None:
        """Only "not found" means that nothing is announced; a failed request does not."""
        if answer.status != NOT_FOUND:
            raise MetadataError(f"{self._service.name}: GET {path}: HTTP {answer.status}")

    def _text(self, path: str, deadline: float) -> str:
        answer = self._get(path, deadline)
        if answer.status != OK:
            raise MetadataError(f"{self._service.name}: GET {path}: HTTP {answer.status}")
        return self._service.decoded(answer, path)

    def _get(self, path: str, deadline: float) -> Answer:
        """Send a request with the token; a token that is no longer accepted is replaced once."""
        if not self._token:
            self._token = self._new_token(deadline)
        answer = self._service.ask(path, {"X-aws-ec2-metadata-token": self._token}, deadline)
        if answer.status == UNAUTHORIZED:
            self._token = self._new_token(deadline)
            answer = self._service.ask(path, {"X-aws-ec2-metadata-token": self._token}, deadline)
        return answer

    def _new_token(self, deadline: float) -> str:
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
        try:
            answer = self._service.ask(TOKEN_PATH, headers, deadline, method="PUT")
        except MetadataError as err:
            # The token's packets live for as many hops as the instance allows, and a container is one hop away.
            raise MetadataError(f"{err} (in a container the instance's metadata hop limit must be 2)") from None
        token = self._service.decoded(answer, TOKEN_PATH) if answer.status == OK else ""
        if not token or not token.isascii() or not token.isprintable():
            raise MetadataError(f"{self._service.name}: PUT {TOKEN_PATH}: HTTP {answer.status} without a token")
        return token


def _instant(value: object) -> float | None:
    """``2026-01-02T03:04:05Z`` in seconds since the Unix epoch; None when it is not that."""
    try:
        moment = datetime.strptime(str(value), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc).timestamp()
    except (ValueError, OverflowError):
        return None
    return moment if math.isfinite(moment) else None
