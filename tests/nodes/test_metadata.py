"""Which machine is this, by each cloud's own protocol, and with impostor services."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.nodes.clouds import (
    ApiServer,
    Aws,
    Azure,
    Cloud,
    FixedReply,
    Gcp,
    Reply,
    floods,
    hangs_up,
    never_responds,
    raw,
    sends_nonsense,
    trickles,
)

from epochcost.model import Node, PreemptionNotice, PurchaseOption
from epochcost.nodes import filled, identify
from epochcost.nodes.aws import AwsMetadata
from epochcost.nodes.azure import AzureMetadata
from epochcost.nodes.exchange import MAX_ANSWER_BYTES, MetadataError, Service
from epochcost.nodes.feed import IdentityFeed
from epochcost.nodes.gcp import GcpMetadata
from epochcost.nodes.kubernetes import KubernetesNode, node_of_labels
from epochcost.nodes.label import MAX_CHARACTERS
from epochcost.nodes.metadata import (
    CLOUDS,
    MODES,
    asked_cloud,
    detect,
    kubernetes_node_name,
    metadata_sources,
    notice_source,
)

SPOT, ON_DEMAND, RESERVED = PurchaseOption.SPOT, PurchaseOption.ON_DEMAND, PurchaseOption.RESERVED
PROXY_VARIABLES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


def soon(seconds: float = 2.0) -> float:
    return time.monotonic() + seconds


# -- AWS ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("life_cycle", "option"),
    [("spot", SPOT), ("on-demand", ON_DEMAND), ("capacity-block", RESERVED), ("new thing", None), ("a\nb", None)],
)
def test_aws_provides_region_zone_type_and_purchase_option(life_cycle: str, option: PurchaseOption | None):
    with Aws(life_cycle).serving() as url:
        node = AwsMetadata(url).identify(soon())
    assert node == Node("", "aws", "us-east-1", "us-east-1b", "p4d.24xlarge", option, "aws")


@pytest.mark.parametrize(
    ("life_cycle", "tags", "reservation"),
    [
        ("capacity-block", {"epochcost-reservation": "cr-0123"}, "cr-0123"),
        ("capacity-block", {}, ""),
        ("on-demand", {"epochcost-reservation": "cr-0123"}, ""),
    ],
)
def test_a_tag_of_an_aws_machine_of_a_capacity_block_names_its_reservation(
    life_cycle: str, tags: dict[str, str], reservation: str
) -> None:
    cloud = Aws(life_cycle)
    cloud.tags = tags
    with cloud.serving() as url:
        assert AwsMetadata(url).identify(soon()).reservation == reservation


def test_aws_is_queried_with_one_token_until_it_is_rejected():
    cloud = Aws()
    with cloud.serving() as url:
        source = AwsMetadata(url)
        source.identify(soon())
        source.identify(soon())
        assert [r.method for r in cloud.requests].count("PUT") == 1
        cloud.forget_tokens()
        source.identify(soon())
        assert [r.method for r in cloud.requests].count("PUT") == 2


def test_aws_without_a_token_within_the_hop_limit_has_an_error_with_a_remedy():
    with (
        raw(never_responds) as url,
        pytest.raises(MetadataError, match=r"no complete response in time .*hop limit must be 2"),
    ):
        AwsMetadata(url).identify(soon(0.2))


def test_aws_is_never_queried_without_a_token():
    with FixedReply(Reply(403)).serving() as url, pytest.raises(MetadataError, match="HTTP 403 without a token"):
        AwsMetadata(url).identify(soon())


@pytest.mark.parametrize("missing", ["region", "availabilityZone", "instanceType"])
def test_an_incomplete_aws_document_is_rejected(missing: str):
    with Aws(**{missing: None}).serving() as url, pytest.raises(MetadataError, match="no region, zone or type"):  # type: ignore[arg-type]
        AwsMetadata(url).identify(soon())


def test_aws_announces_an_interruption_and_before_it_perhaps_a_raised_risk():
    cloud = Aws()
    with cloud.serving() as url:
        source = AwsMetadata(url)
        assert source.notice(soon()) is None
        cloud.rebalance = {"noticeTime": "2026-11-21T08:20:00Z"}
        assert source.notice(soon()) == PreemptionNotice("rebalance", "rebalance")
        cloud.action = {"action": "terminate", "time": "2026-11-21T08:22:00Z"}
        assert source.notice(soon()) == PreemptionNotice("interruption", "terminate", 1795249320.0)
        cloud.action = {"action": 'x"} 1\n', "time": "soon"}
        assert source.notice(soon()) == PreemptionNotice("interruption")


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("path", ["instance-action", "rebalance"])
def test_a_failing_aws_neither_announces_nor_clears_a_notice(path: str, status: int):
    cloud = Aws()
    cloud.failing[path] = status
    if path == "instance-action":
        cloud.rebalance = {"noticeTime": "2026-11-21T08:20:00Z"}  # a raised risk must not replace the announced end
    with cloud.serving() as url, pytest.raises(MetadataError, match=f"{path}: HTTP {status}"):
        AwsMetadata(url).notice(soon())


# -- Google Cloud ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheduling", "option"),
    [
        ({"preemptible": "TRUE"}, SPOT),
        ({"preemptible": "FALSE"}, ON_DEMAND),
        ({"preemptible": "TRUE", "provisioningModel": "SPOT"}, SPOT),
        ({"preemptible": "FALSE", "provisioningModel": "STANDARD"}, ON_DEMAND),
        ({"preemptible": "FALSE", "provisioningModel": "RESERVATION_BOUND"}, RESERVED),
        ({"preemptible": "FALSE", "provisioningModel": "FLEX_START"}, None),
        ({}, None),
    ],
)
def test_google_provides_region_zone_type_and_purchase_option(
    scheduling: dict[str, str], option: PurchaseOption | None
):
    cloud = Gcp()
    cloud.scheduling = scheduling
    with cloud.serving() as url:
        node = GcpMetadata(url).identify(soon())
    assert node == Node("", "gcp", "us-central1", "us-central1-a", "a3-highgpu-8g", option, "gcp")


@pytest.mark.parametrize(
    ("model", "attributes", "reservation"),
    [
        ("RESERVATION_BOUND", {"attributes/epochcost-reservation": "block-7"}, "block-7"),
        ("RESERVATION_BOUND", {}, ""),
        ("STANDARD", {"attributes/epochcost-reservation": "block-7"}, ""),
    ],
)
def test_an_attribute_of_a_google_machine_that_is_bound_to_a_reservation_names_it(
    model: str, attributes: dict[str, str], reservation: str
) -> None:
    cloud = Gcp(**attributes)
    cloud.scheduling = {"preemptible": "FALSE", "provisioningModel": model}
    with cloud.serving() as url:
        assert GcpMetadata(url).identify(soon()).reservation == reservation


def test_only_used_fields_are_requested_from_google():
    cloud = Gcp()
    with cloud.serving() as url:
        GcpMetadata(url).identify(soon())
    assert {r.path.rpartition("/instance/")[2] for r in cloud.requests} == {"zone", "machine-type", "scheduling/"}


@pytest.mark.parametrize("flavor", [None, "Gogle"])
def test_a_response_without_googles_header_is_rejected(flavor: str | None):
    cloud = Gcp()
    cloud.flavor = flavor
    with cloud.serving() as url, pytest.raises(MetadataError, match="zone: HTTP 200"):
        GcpMetadata(url).identify(soon())


@pytest.mark.parametrize(
    "texts",
    [{"zone": "us-central1-a"}, {"zone": "projects/1/zones/"}, {"zone": "projects/1/zones/mars"}, {"machine-type": ""}],
)
def test_a_google_response_of_another_shape_is_rejected(texts: dict[str, str]):
    with Gcp(**texts).serving() as url, pytest.raises(MetadataError, match="Google Cloud metadata: GET "):
        GcpMetadata(url).identify(soon())


def test_google_announces_a_preemption():
    cloud = Gcp()
    with cloud.serving() as url:
        source = GcpMetadata(url)
        assert source.notice(soon()) is None
        cloud.texts["preempted"] = "TRUE"
        assert source.notice(soon()) == PreemptionNotice("interruption", "preempted")
        cloud.texts["preempted"] = "perhaps"
        with pytest.raises(MetadataError, match="'perhaps', not TRUE or FALSE"):
            source.notice(soon())


# -- Azure -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compute", "zone", "option"),
    [
        ({}, "eastus-1", SPOT),
        ({"zone": "", "priority": "Regular"}, "", ON_DEMAND),
        ({"zone": "", "priority": ""}, "", ON_DEMAND),
        ({"priority": "Low"}, "eastus-1", SPOT),
        ({"priority": "Golden"}, "eastus-1", None),
        ({"priority": None}, "eastus-1", None),
    ],
)
def test_azure_provides_region_zone_size_and_purchase_option(
    compute: dict[str, str], zone: str, option: PurchaseOption | None
):
    with Azure(**compute).serving() as url:
        node = AzureMetadata(url).identify(soon())
    assert node == Node("", "azure", "eastus", zone, "Standard_ND96isr_H100_v5", option, "azure")


def test_an_incomplete_azure_response_is_rejected():
    with Azure(vmSize=3).serving() as url, pytest.raises(MetadataError, match="no location or vmSize: 'eastus', 3"):
        AzureMetadata(url).identify(soon())


def test_azure_announces_an_eviction_of_this_machine_and_not_of_another_one():
    cloud = Azure()
    event = {
        "EventId": "C7061BAC-AFDC-4513-B24B-AA5F13A16123",
        "EventStatus": "Scheduled",
        "EventType": "Preempt",
        "ResourceType": "VirtualMachine",
        "Resources": ["train_2"],
        "NotBefore": "Sat, 21 Nov 2026 18:29:47 GMT",
    }
    with cloud.serving() as url:
        source = AzureMetadata(url)
        assert source.notice(soon()) is None
        cloud.events = [event]
        assert source.notice(soon()) is None
        cloud.events = [{**event, "Resources": ["train_3"], "EventType": "Freeze"}]
        assert source.notice(soon()) is None
        cloud.events = [{"EventType": "Preempt"}, "nonsense", {**event, "Resources": ["_train_3"]}]  # type: ignore[list-item]
        assert source.notice(soon()) == PreemptionNotice("interruption", "preempt", 1795285787.0)
        cloud.events = [{**event, "Resources": ["train_3"], "EventStatus": "Started", "NotBefore": ""}]
        assert source.notice(soon()) == PreemptionNotice("interruption", "preempt")


@pytest.mark.parametrize(
    ("tags", "reservation"),
    [
        ([{"name": "team", "value": "lab"}, {"name": "epochcost-reservation", "value": "crg-1"}], "crg-1"),
        ([{"name": "epochcost-reservation", "value": 3}], ""),
        ([{"name": "epochcost-reservation", "value": "a"}, {"name": "epochcost-reservation", "value": "b"}], ""),
        (["epochcost-reservation"], ""),
        ("epochcost-reservation:crg-1", ""),
        (None, ""),
    ],
)
def test_a_tag_of_an_azure_machine_names_its_reservation(tags: object, reservation: str) -> None:
    with Azure(tagsList=tags, priority="Regular").serving() as url:
        feed = IdentityFeed(Node("n", purchase_option=RESERVED), [AzureMetadata(url)])
        assert feed.ask()
    assert (feed.node.purchase_option, feed.node.reservation) == (RESERVED, reservation)


# -- Kubernetes --------------------------------------------------------------------------------------------------------

PLACE = {
    "node.kubernetes.io/instance-type": "p5.48xlarge",
    "topology.kubernetes.io/region": "us-east-1",
    "topology.kubernetes.io/zone": "us-east-1b",
}


def account(root: Path, token: str = "sesame") -> Path:
    (root / "token").write_text(token + "\n")
    return root


@pytest.mark.parametrize(
    ("label", "value", "option"),
    [
        ("karpenter.sh/capacity-type", "spot", SPOT),
        ("karpenter.sh/capacity-type", "on-demand", ON_DEMAND),
        ("karpenter.sh/capacity-type", "reserved", RESERVED),
        ("eks.amazonaws.com/capacityType", "SPOT", SPOT),
        ("eks.amazonaws.com/capacityType", "ON_DEMAND", ON_DEMAND),
        ("eks.amazonaws.com/capacityType", "CAPACITY_BLOCK", RESERVED),
        ("cloud.google.com/gke-spot", "true", SPOT),
        ("cloud.google.com/gke-preemptible", "true", SPOT),
        ("cloud.google.com/gke-provisioning", "standard", ON_DEMAND),
        ("kubernetes.azure.com/scalesetpriority", "spot", SPOT),
        ("example.com/capacity", "spot", None),
        ("cloud.google.com/gke-spot", "false", None),
    ],
)
def test_the_labels_of_a_node_give_its_purchase_option(label: str, value: str, option: PurchaseOption | None):
    assert node_of_labels({**PLACE, label: value}) == Node(
        "", "", "us-east-1", "us-east-1b", "p5.48xlarge", option, "kubernetes"
    )


def test_the_api_server_is_queried_for_this_node_with_the_pods_account(tmp_path: Path):
    server = ApiServer(**PLACE, **{"eks.amazonaws.com/capacityType": "SPOT"})
    with server.serving() as url:
        node = KubernetesNode(url, "gpu-7", account(tmp_path)).identify(soon())
        assert node == Node("", "aws", "us-east-1", "us-east-1b", "p5.48xlarge", SPOT, "kubernetes")
        server.provider_id = "kind://docker/kind/kind-worker"
        assert KubernetesNode(url, "gpu-7", tmp_path).identify(soon()).provider == ""
        with pytest.raises(MetadataError, match=r"GET /api/v1/nodes/..%2Fpods: HTTP 404"):
            KubernetesNode(url, "../pods", tmp_path).identify(soon())
        with pytest.raises(MetadataError, match="HTTP 403"):
            KubernetesNode(url, "gpu-7", account(tmp_path, "other")).identify(soon())


def test_a_pod_without_an_account_gets_an_error(tmp_path: Path):
    with pytest.raises(MetadataError, match=r"the service account in .* cannot be used: .*No such file"):
        KubernetesNode("https://127.0.0.1:1", "gpu-7", tmp_path).identify(soon())


# -- wrong and hostile responses ---------------------------------------------------------------------------------------

SOURCES: list[Callable[[str], AwsMetadata | GcpMetadata | AzureMetadata]] = [AwsMetadata, GcpMetadata, AzureMetadata]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("behave", [never_responds, trickles, floods, sends_nonsense, hangs_up])
def test_a_broken_service_is_an_error_in_time(source: Callable[[str], AwsMetadata], behave: Callable[..., None]):
    with raw(behave) as url:
        started_at = time.monotonic()
        with pytest.raises(MetadataError):
            source(url).identify(soon(0.4))
        assert time.monotonic() - started_at < 5.0  # the service itself never ends


@pytest.mark.parametrize("source", SOURCES)
def test_a_service_that_rejects_requests_is_an_error(source: Callable[[str], AwsMetadata]):
    with raw(never_responds) as url:
        pass  # nothing listens there any more
    with pytest.raises(MetadataError, match="refused"):
        source(url).identify(soon())


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(source: Callable[[str], AwsMetadata], status: int):
    elsewhere = FixedReply(Reply(200, b"{}", {"Metadata-Flavor": "Google"}))
    with elsewhere.serving() as there, FixedReply(Reply(status, b"", {"Location": there})).serving() as url:
        with pytest.raises(MetadataError, match=f"HTTP {status}"):
            source(url).identify(soon())
        assert elsewhere.requests == []


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "body", [b"<html>Please log in to the hotel's network</html>", b"[" * 100_000, b"\xff\xfe\x00", b"null", b""]
)
def test_an_invalid_response_is_an_error(source: Callable[[str], AwsMetadata], body: bytes):
    with FixedReply(Reply(200, body, {"Metadata-Flavor": "Google"})).serving() as url, pytest.raises(MetadataError):
        source(url).identify(soon())


@pytest.mark.parametrize(("length", "fits"), [(MAX_ANSWER_BYTES - 1000, True), (MAX_ANSWER_BYTES + 1, False)])
def test_a_response_that_is_too_long_is_rejected_however_fast_it_arrives(length: int, fits: bool):
    cloud = Aws(life_cycle="x" * length)
    with cloud.serving() as url:
        source = AwsMetadata(url)
        if fits:
            assert source.identify(soon()).purchase_option is None
            return
        with pytest.raises(MetadataError, match=f"longer than {MAX_ANSWER_BYTES} bytes"):
            source.identify(soon())


def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch):
    proxy = FixedReply(Reply(200, b"{}"))
    with proxy.serving() as url, Azure().serving() as azure:
        for name in PROXY_VARIABLES:
            monkeypatch.setenv(name, url)
        assert AzureMetadata(azure).identify(soon()).provider == "azure"
    assert proxy.requests == []


def test_nothing_can_be_injected_into_a_request():
    with FixedReply(Reply()).serving() as url, pytest.raises(MetadataError, match="cannot be sent"):
        Service("test", url).ask("/x", {"Authorization": "Bearer a\r\nHost: b"}, soon())


HOSTILE = ["p5\n# HELP x", "x" * 10_000, 'p5"} 1', "\u202ep5", "p5\x00", " "]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_response_becomes_at_most_a_label(text: str):
    configured = Node("n", "aws")
    with Aws(instanceType=text, region=text).serving() as url:
        detected = detect([AwsMetadata(url)])
    node = filled(configured, detected.identities)
    for label in (node.region, node.instance_type):
        assert len(label) <= MAX_CHARACTERS
        assert label.isprintable()
    assert node.zone == "us-east-1b"


# -- all together ------------------------------------------------------------------------------------------------------


def test_all_services_are_queried_at_once_and_late_ones_are_left_out():
    with raw(never_responds) as slow, Azure().serving() as quick:
        started_at = time.monotonic()
        detected = detect([AwsMetadata(slow), GcpMetadata(slow), AzureMetadata(quick)], seconds=0.5)
        assert time.monotonic() - started_at < 5.0  # the service itself never ends
    assert list(detected.identities) == ["azure"]
    assert set(detected.errors) == {"aws", "gcp"}


class Broken:
    name = "broken"

    def identify(self, deadline: float) -> Node:
        raise ZeroDivisionError("by a mistake of ours")


def test_a_mistake_in_one_source_leaves_the_others_alone():
    with Azure().serving() as url:
        detected = detect([Broken(), AzureMetadata(url)])
    assert list(detected.identities) == ["azure"]
    assert detected.errors == {"broken": "broken: ZeroDivisionError: by a mistake of ours"}


def test_a_service_without_a_response_is_retried_and_others_are_not():
    cloud = Azure()
    with raw(never_responds) as slow, cloud.serving() as quick:
        feed = IdentityFeed(Node("n", "azure"), [AzureMetadata(quick), AwsMetadata(slow)], seconds=0.3)
        assert not feed.settled
        assert not feed.ask()
        assert feed.settled
        assert "AWS instance metadata: PUT /latest/api/token: no complete response in time" in feed.error
        assert not feed.ask()
    assert len(cloud.requests) == 1
    assert feed.node.instance_type == "Standard_ND96isr_H100_v5"


def test_configuration_takes_precedence_over_a_cloud():
    with Aws().serving() as url:
        feed = IdentityFeed(Node("n", "aws", instance_type="p4d.reserved-for-us"), [AwsMetadata(url)])
        assert feed.ask()
    assert feed.node == Node("n", "aws", "us-east-1", "us-east-1b", "p4d.reserved-for-us", SPOT)


def test_a_fully_configured_node_is_not_queried():
    feed = IdentityFeed(Node("n", "aws", "r", "z", "t", SPOT), [Broken()])
    assert feed.settled
    assert feed.ask()
    assert feed.last_duration is None


def test_the_saved_identity_of_an_earlier_version_is_loaded_without_a_reservation():
    restored = IdentityFeed(Node("n", "aws"), []).restored({"aws": ["aws", "r", "z", "t", "reserved"]})
    assert restored == {"aws": Node("", "aws", "r", "z", "t", RESERVED)}


def test_a_detected_identity_is_remembered():
    cloud = Aws("capacity-block")
    cloud.tags = {"epochcost-reservation": "cr-0123"}
    with cloud.serving() as url:
        first = IdentityFeed(Node("n", "aws"), [AwsMetadata(url)])
        first.ask()
        again = IdentityFeed(Node("n", "aws"), [AwsMetadata(url)])
    again.take(again.restored(first.state()))  # the service is gone by now
    assert again.settled
    assert again.ask()
    assert again.node == first.node
    assert again.node.reservation == "cr-0123"


@pytest.mark.parametrize("state", [{"aws": ["aws"]}, {"aws": None}, {"aws": ["a", "b", "c", "d", "stolen"]}, []])
def test_a_nonsensical_saved_identity_is_rejected(state: dict[str, Any]):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        IdentityFeed(Node("n"), []).restored(state)


# -- which services are queried ----------------------------------------------------------------------------------------


def firmware(root: Path, vendor: str = "Amazon EC2") -> Path:
    (root / "sys_vendor").write_text(vendor)
    return root


def test_only_the_cloud_of_the_firmware_is_queried(tmp_path: Path):
    root = firmware(tmp_path)
    assert asked_cloud("auto", identify(Node("n"), root), root) == "aws"
    assert asked_cloud("auto", identify(Node("n", "owned"), root), root) == ""
    assert asked_cloud("auto", Node("n", "aws"), tmp_path / "nothing") == ""  # configured, on some other machine
    assert asked_cloud("off", identify(Node("n"), root), root) == ""
    assert asked_cloud("gcp", Node("n"), tmp_path / "nothing") == "gcp"
    hetzner = firmware(tmp_path, "Hetzner")
    assert asked_cloud("auto", identify(Node("n"), hetzner), hetzner) == ""


def test_in_a_pod_the_cluster_is_queried_too(tmp_path: Path):
    root, node = firmware(tmp_path), Node("gpu-7", "aws")
    pod = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443", "NODE_NAME": "gpu-7"}

    def hosts_queried(mode: str, environ: dict[str, str]) -> list[str]:
        return [s.name for s in metadata_sources(mode, node, environ, "", root)]

    assert hosts_queried("auto", pod) == ["aws", "kubernetes"]
    assert hosts_queried("auto", {}) == ["aws"]
    assert hosts_queried("kubernetes", pod) == ["kubernetes"]
    assert hosts_queried("azure", pod) == ["azure"]
    assert hosts_queried("off", pod) == []
    assert kubernetes_node_name(pod) == "gpu-7"
    assert kubernetes_node_name({"NODE_NAME": "gpu-7"}) == ""


@pytest.mark.parametrize(("option", "is_polled"), [(SPOT, True), (None, True), (ON_DEMAND, False), (RESERVED, False)])
def test_only_a_preemptible_machine_polls_for_notices(option: PurchaseOption | None, is_polled: bool):
    assert (notice_source("aws", Node("n", purchase_option=option)) is not None) == is_polled


def test_the_modes_are_those_of_the_setting():
    from epochcost.agent.agent_settings import AgentSettings
    from epochcost.settings import SettingsError, load

    for mode in MODES:
        assert load(AgentSettings, "agent", {"node.metadata": mode}, {}).node_metadata == mode
    with pytest.raises(SettingsError, match="allowed: auto, aws, gcp, azure, kubernetes, off"):
        load(AgentSettings, "agent", {"node.metadata": "oracle"}, {})
    assert set(CLOUDS) < set(MODES)


def test_a_clouds_class_is_a_cloud(tmp_path: Path):
    for name, factory in CLOUDS.items():
        assert factory("").name == name


def test_the_test_servers_reject_what_the_real_ones_reject():
    clouds: list[tuple[Cloud, str, int]] = [
        (Aws(), "/latest/dynamic/instance-identity/document", 401),
        (Gcp(), "/computeMetadata/v1/instance/zone", 403),
        (Azure(), "/metadata/instance/compute?api-version=2020-09-01", 400),
    ]
    for cloud, path, status in clouds:
        with cloud.serving() as url:
            assert Service("test", url).ask(path, {}, soon()).status == status
    with Azure().serving() as url:
        assert Service("test", url).ask("/metadata/instance/compute", {"Metadata": "true"}, soon()).status == 400
