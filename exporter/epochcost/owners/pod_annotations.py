"""Annotations of the pods on this node, by the API server and the pod's service account: metadata and nothing else."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from epochcost.http_client import OK, Bounds, ExchangeError, Request, ask
from epochcost.owners.owner_source import OwnerError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
QUESTION_SECONDS = 5.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MOST_PODS = 1000
"""More than a kubelet runs."""
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Without what a pod's containers are called with, their variables and volumes: these are not needed here."""
PodName = tuple[str, str]
"""Namespace and name."""


class PodAnnotations:
    """Requests the pods of node ``node_name`` from the API server at ``url``; the roles must allow ``list``.

    Args:
        url: https needs the account's ``ca.crt``.
        node_name: as the cluster calls this machine.
        account: directory of the service account, read at every request, for its token is replaced from time to time.
    """

    def __init__(self, url: str, node_name: str, account: Path = ACCOUNT) -> None:
        query = urlencode({"fieldSelector": f"spec.nodeName={node_name}", "limit": MOST_PODS})
        self._question = f"{url}/api/v1/pods?{query}"
        self._account = account

    def named(self, annotation: str) -> Mapping[PodName, str]:
        """The value of ``annotation`` by pod, for those that have it.

        Raises:
            OwnerError: when the API server does not respond, or not with pods.
        """
        pods = _items(self._answer())
        values = {}
        for pod in pods:
            metadata = _mapping(_mapping(pod).get("metadata"))
            value = _mapping(metadata.get("annotations")).get(annotation)
            if isinstance(value, str):
                values[str(metadata.get("namespace", "")), str(metadata.get("name", ""))] = value
        return values

    def _answer(self) -> bytes:
        try:
            token = (self._account / "token").read_text(encoding="ascii").strip()
            https = self._question.startswith("https")
            tls = ssl.create_default_context(cafile=self._account / "ca.crt") if https else None
        except (OSError, ValueError) as err:
            raise OwnerError(f"the service account in {self._account} cannot be used: {err}") from None
        headers = {"Authorization": f"Bearer {token}", "Accept": METADATA_ONLY}
        bounds = Bounds(time.monotonic() + QUESTION_SECONDS, MAX_ANSWER_BYTES)
        try:
            answer = ask(Request(self._question, "GET", headers, by_proxy=False), bounds, tls)
        except ExchangeError as err:
            raise OwnerError(f"Kubernetes: pods of this node: {err}") from None
        if answer.status != OK:
            raise OwnerError(f"Kubernetes: pods of this node: HTTP {answer.status}")
        return answer.body


def _items(body: bytes) -> list[Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    items = _mapping(document).get("items")
    if not isinstance(items, list):
        raise OwnerError(f"Kubernetes: pods of this node: the response is not a list of pods: {body[:40]!r}")
    return items


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
