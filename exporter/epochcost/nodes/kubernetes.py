"""A Kubernetes node: the labels that its cloud's controllers put on it, by the API and the pod's service account."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from epochcost.model import Node, PurchaseOption
from epochcost.nodes.exchange import MetadataError, Service

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MAX_NODE_BYTES = 2 * 1024 * 1024
"""Above what the API server stores of any object."""

PROVIDERS = {"aws": "aws", "gce": "gcp", "azure": "azure"}
"""By the scheme of ``spec.providerID``."""
CAPACITY_LABELS = (
    "karpenter.sh/capacity-type",
    "eks.amazonaws.com/capacityType",
    "cloud.google.com/gke-provisioning",
    "kubernetes.azure.com/scalesetpriority",
)
OPTIONS = {
    "spot": PurchaseOption.SPOT,
    "preemptible": PurchaseOption.SPOT,
    "on-demand": PurchaseOption.ON_DEMAND,
    "on_demand": PurchaseOption.ON_DEMAND,
    "standard": PurchaseOption.ON_DEMAND,
    "regular": PurchaseOption.ON_DEMAND,
    "reserved": PurchaseOption.RESERVED,
    "capacity_block": PurchaseOption.RESERVED,
}
SPOT_LABELS = ("cloud.google.com/gke-spot", "cloud.google.com/gke-preemptible")


class KubernetesNode:
    """Requests the node called ``node_name`` from the API server; the cluster's roles must allow ``get``.

    Args:
        url: of the API server; https needs the account's ``ca.crt``.
        node_name: as the cluster calls this machine.
        account: directory of the service account, read at every request, for its token is replaced from time to time.
    """

    name = "kubernetes"

    def __init__(self, url: str, node_name: str, account: Path = ACCOUNT) -> None:
        self._url = url
        self._node_name = node_name
        self._account = account

    def identify(self, deadline: float) -> Node:
        """The identity in the node's labels.

        Raises:
            MetadataError: when the API server does not respond, or not with that node.
        """
        path = f"/api/v1/nodes/{quote(self._node_name, safe='')}"
        try:
            token = (self._account / "token").read_text(encoding="ascii").strip()
            tls = ssl.create_default_context(cafile=self._account / "ca.crt") if self._url.startswith("https") else None
        except (OSError, ValueError) as err:
            raise MetadataError(f"Kubernetes: the service account in {self._account} cannot be used: {err}") from None
        service = Service("Kubernetes", self._url, tls, MAX_NODE_BYTES)
        document = service.document(path, {"Authorization": f"Bearer {token}"}, deadline)
        return node_of_labels(_mapping(_mapping(document.get("metadata")).get("labels")), _provider(document))


def node_of_labels(labels: Mapping[str, Any], provider: str = "") -> Node:
    """The node that well-known labels describe; empty strings for what they lack."""
    return Node(
        "",
        provider,
        _text(labels, "topology.kubernetes.io/region"),
        _text(labels, "topology.kubernetes.io/zone"),
        _text(labels, "node.kubernetes.io/instance-type"),
        _option(labels),
        KubernetesNode.name,
    )


def _option(labels: Mapping[str, Any]) -> PurchaseOption | None:
    if any(_text(labels, name) == "true" for name in SPOT_LABELS):
        return PurchaseOption.SPOT
    capacities = (_text(labels, name).lower() for name in CAPACITY_LABELS)
    return next((OPTIONS[word] for word in capacities if word in OPTIONS), None)


def _provider(document: Mapping[str, Any]) -> str:
    scheme, colon, _ = _text(_mapping(document.get("spec")), "providerID").partition("://")
    return PROVIDERS.get(scheme, "") if colon else ""


def _text(labels: Mapping[str, Any], name: str) -> str:
    value = labels.get(name, "")
    return value if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
