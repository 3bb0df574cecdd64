"""The metadata services that may identify this machine, queried all at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from epochcost.model import Node, PurchaseOption
from epochcost.nodes.firmware import DMI, FirmwareSource
from epochcost.nodes.node_source import CloudMetadata, MetadataSource, NodeError, NoticeSource

if TYPE_CHECKING:
    from epochcost.nodes.kubernetes import KubernetesNode

log = logging.getLogger(__name__)


# Loaded only when queried: they load an HTTP client, and that OpenSSL.


def _aws(url: str) -> CloudMetadata:
    from epochcost.nodes.aws import AwsMetadata

    return AwsMetadata(url)


def _gcp(url: str) -> CloudMetadata:
    from epochcost.nodes.gcp import GcpMetadata

    return GcpMetadata(url)


def _azure(url: str) -> CloudMetadata:
    from epochcost.nodes.azure import AzureMetadata

    return AzureMetadata(url)


CLOUDS: Mapping[str, Callable[[str], CloudMetadata]] = {"aws": _aws, "gcp": _gcp, "azure": _azure}
"""By provider; each takes an address to query instead of its own, empty for its own."""

MODES = ("auto", *CLOUDS, "kubernetes", "off")
DETECT_SECONDS = 2.0
"""For all of them together."""


@dataclass(frozen=True, slots=True)
class Detected:
    """The results of the sources that responded, and the errors of the others."""

    identities: Mapping[str, Node]
    errors: Mapping[str, str]


def asked_cloud(mode: str, known: Node, root: Path = DMI) -> str:
    """The cloud whose metadata service is queried, empty for none.

    Unless configured, only the one whose firmware this machine has: on any other network that address may belong to
    anything.
    """
    if mode != "auto":
        return mode if mode in CLOUDS else ""
    seen = FirmwareSource(root).identify()
    return seen.provider if seen is not None and seen.provider in CLOUDS and seen.provider == known.provider else ""


def metadata_sources(
    mode: str, known: Node, environ: Mapping[str, str], url: str = "", root: Path = DMI
) -> list[MetadataSource]:
    """Sources that may know more of this machine, the one that knows most first.

    Args:
        mode: one of `MODES`; ``auto`` queries `asked_cloud`, and in a cluster its API server.
        known: what is known without them.
        environ: where a pod finds its cluster's address.
        url: instead of the cloud's own address.
        root: of the firmware's strings.
    """
    sources: list[MetadataSource] = []
    if cloud := asked_cloud(mode, known, root):
        sources.append(CLOUDS[cloud](url))
    if mode in ("auto", "kubernetes") and (cluster := kubernetes_node(known, environ)):
        sources.append(cluster)
    return sources


def notice_source(mode: str, known: Node, url: str = "", root: Path = DMI) -> NoticeSource | None:
    """The source of this machine's preemption notices; None if it cannot be preempted. As `metadata_sources`."""
    cloud = asked_cloud(mode, known, root)
    if not cloud or known.purchase_option not in (PurchaseOption.SPOT, None):
        return None
    return CLOUDS[cloud](url)


def kubernetes_node(known: Node, environ: Mapping[str, str]) -> KubernetesNode | None:
    """This node as the cluster knows it, None outside of one."""
    url = api_server(environ)
    if not url:
        return None
    from epochcost.nodes.kubernetes import KubernetesNode

    return KubernetesNode(url, known.node)


def api_server(environ: Mapping[str, str]) -> str:
    """Where the API server of the cluster that this process runs in is; empty outside of one."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not port.isdecimal():
        return ""
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


def kubernetes_node_name(environ: Mapping[str, str]) -> str:
    """The node's name as a pod gets it from the downward API (``spec.nodeName``); empty outside of a cluster."""
    return environ.get("NODE_NAME", "") if environ.get("KUBERNETES_SERVICE_HOST") else ""


def detect(sources: Sequence[MetadataSource], seconds: float = DETECT_SECONDS) -> Detected:
    """Read all at once; a source without a response after ``seconds`` is among the errors. Never raises."""
    identities: dict[str, Node] = {}
    errors: dict[str, str] = {}
    deadline = time.monotonic() + seconds

    def ask(source: MetadataSource) -> None:
        try:
            identities[source.name] = source.identify(deadline)
        except NodeError as err:
            errors[source.name] = str(err)
        except Exception as err:
            log.exception("%s failed with an unexpected error", source.name)
            errors[source.name] = f"{source.name}: {type(err).__name__}: {err}"

    threads = [threading.Thread(target=ask, args=(s,), name=f"epochcost-{s.name}", daemon=True) for s in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=max(0.0, deadline + 0.1 - time.monotonic()))
    answers, failures = dict(identities), dict(errors)
    for source in sources:
        if source.name not in answers:
            failures.setdefault(source.name, f"{source.name}: no response within {seconds:g} s")
    return Detected(answers, failures)
