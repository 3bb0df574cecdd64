"""Which machine is this: configured fields win, firmware fills the gaps, hostile text never becomes a label."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.model import Node, PurchaseOption
from epochcost.nodes import identify, safe
from epochcost.nodes.firmware import AZURE_ASSET_TAG, FirmwareSource
from epochcost.nodes.label import MAX_CHARACTERS, label_text
from epochcost.nodes.node_source import NodeError

UNKNOWN = Node("")


def machine(root: Path, **strings: str | bytes) -> Path:
    for field, content in strings.items():
        data = content if isinstance(content, bytes) else f"{content}\n".encode()
        (root / field).write_bytes(data)
    return root


def test_an_unknown_machine_has_its_host_name_and_nothing_else(tmp_path: Path):
    assert identify(UNKNOWN, tmp_path) == Node(socket.gethostname())
    assert identify(UNKNOWN, tmp_path / "nothing") == Node(socket.gethostname())


@pytest.mark.parametrize(
    ("strings", "provider"),
    [
        ({"sys_vendor": "Amazon EC2", "product_name": "HVM domU"}, "aws"),
        ({"sys_vendor": "Xen", "bios_vendor": "Amazon EC2"}, "aws"),
        ({"sys_vendor": "Google", "product_name": "Google Compute Engine"}, "gcp"),
        ({"sys_vendor": "Microsoft Corporation", "chassis_asset_tag": AZURE_ASSET_TAG}, "azure"),
        ({"sys_vendor": "QEMU", "chassis_asset_tag": "OracleCloud.com"}, "oracle"),
        ({"sys_vendor": "Alibaba Cloud", "product_name": "Alibaba Cloud ECS"}, "alibaba"),
        ({"sys_vendor": "Hetzner", "product_name": "vServer"}, "hetzner"),
        ({"sys_vendor": "DigitalOcean", "product_name": "Droplet"}, "digitalocean"),
        ({"sys_vendor": "Scaleway"}, "scaleway"),
        ({"sys_vendor": "Linode"}, "akamai"),
        ({"sys_vendor": "Akamai"}, "akamai"),
        ({"sys_vendor": "Vultr"}, "vultr"),
        ({"sys_vendor": "UpCloud"}, "upcloud"),
        ({"sys_vendor": "Exoscale", "product_name": "Exoscale Compute Platform"}, "exoscale"),
        ({"product_name": "OpenStack Nova", "chassis_asset_tag": "HUAWEICLOUD"}, "huawei"),
        ({"sys_vendor": "Microsoft Corporation", "product_name": "Virtual Machine"}, ""),  # Hyper-V of one's own
        ({"sys_vendor": "Microsoft Corporation", "product_name": "Surface Pro 7"}, ""),
        ({"sys_vendor": "Google", "product_name": "Samus"}, ""),  # a laptop
        ({"sys_vendor": "Dell Inc.", "product_name": "PowerEdge XE9680"}, ""),
        ({"sys_vendor": "ASUS", "product_name": "Amazon EC2"}, ""),
        ({}, ""),
    ],
)
def test_the_firmware_identifies_the_provider(tmp_path: Path, strings: dict[str, str], provider: str):
    node = identify(UNKNOWN, machine(tmp_path, **strings))
    assert (node.provider, node.instance_type) == (provider, "")
    assert node.source == ("firmware" if provider else "")


def test_on_aws_the_firmware_has_the_instance_type_too(tmp_path: Path):
    node = identify(UNKNOWN, machine(tmp_path, sys_vendor="Amazon EC2", product_name="p4d.24xlarge"))
    assert (node.provider, node.instance_type, node.source) == ("aws", "p4d.24xlarge", "firmware")


def test_configured_fields_win_and_the_firmware_fills_the_gaps(tmp_path: Path):
    configured = Node("trainer-1", region="us-east-1", purchase_option=PurchaseOption.SPOT)
    node = identify(configured, machine(tmp_path, sys_vendor="Amazon EC2", product_name="p4d.24xlarge"))
    spot = PurchaseOption.SPOT
    assert node == Node("trainer-1", "aws", "us-east-1", "", "p4d.24xlarge", spot, source="firmware")


def test_with_a_configured_provider_the_instance_type_of_another_is_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    root = machine(tmp_path, sys_vendor="Amazon EC2", product_name="p4d.24xlarge")
    assert identify(Node("n", "owned"), root) == Node("n", "owned", source="configured")
    assert "firmware reports provider aws but owned is configured" in caplog.text


def test_a_configured_provider_is_compared_without_regard_to_case(tmp_path: Path):
    root = machine(tmp_path, sys_vendor="Amazon EC2", product_name="p5.48xlarge")
    assert identify(Node("n", " AWS "), root) == Node("n", "aws", instance_type="p5.48xlarge", source="configured")


@pytest.mark.parametrize(
    ("configured", "message"),
    [
        (Node("a\nb"), r"node\.name: 'a\\nb' contains unprintable characters"),
        (Node("x" * 10_000), r"node\.name: 10000 characters, at most 200 are allowed: 'x{40}'\.\.\."),
        (Node("n", region="us\x00east"), r"node\.region: "),
        (Node("n", zone="\ud800"), r"node\.zone: "),
        (Node("n", instance_type="p4d\u202e.24xlarge"), r"node\.instance-type: "),
        (Node("n", provider='aws"} 1'), r"node\.provider: .* expected a word such as aws, gcp, azure or owned"),
    ],
)
def test_configured_text_that_cannot_be_a_label_is_rejected(tmp_path: Path, configured: Node, message: str):
    with pytest.raises(NodeError, match=message):
        identify(configured, tmp_path)


@pytest.mark.parametrize("content", [b"x" * 10_000, b"a\nb", b"\xff\xfe", b"\x00" * 20, b""])
def test_hostile_firmware_text_is_left_out(tmp_path: Path, content: bytes):
    root = machine(tmp_path, sys_vendor=content, product_name="Google Compute Engine")
    assert identify(UNKNOWN, root).provider == "gcp"


def test_hostile_firmware_text_is_logged_with_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert FirmwareSource(machine(tmp_path, sys_vendor=b"a\nb")).identify() is None
    assert f"{tmp_path / 'sys_vendor'}: 'a\\nb' contains unprintable characters" in caplog.text


def test_a_firmware_field_that_cannot_be_read_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "sys_vendor").mkdir()
    assert identify(UNKNOWN, machine(tmp_path, product_name="Google Compute Engine")).provider == "gcp"
    assert "firmware string left out" in caplog.text


class Metadata:
    """A cloud's metadata service as a later source would be."""

    name = "metadata"

    def __init__(self, root: Path) -> None:
        self.root = root

    def identify(self) -> Node | None:
        return Node("ip-10-0-0-1", "aws", "us-east-1", "us-east-1a", "p5.48xlarge\n\n!", PurchaseOption.SPOT)


def test_sources_are_queried_in_order_and_each_fills_the_remaining_fields(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING)
    root = machine(tmp_path, sys_vendor="Amazon EC2", product_name="p4d.24xlarge")
    node = identify(UNKNOWN, root, {"metadata": Metadata, "firmware": FirmwareSource})
    assert node.instance_type == "p4d.24xlarge"  # the first one's was no label
    assert (node.node, node.zone, node.source) == ("ip-10-0-0-1", "us-east-1a", "metadata")
    assert "left out: metadata: instance_type" in caplog.text


def label_or_complaint(text: str) -> tuple[str, str]:
    try:
        return label_text(text, "node.name"), ""
    except NodeError as err:
        return "", str(err)


@given(st.text(max_size=300))
def test_a_label_is_short_printable_and_utf8_or_rejected(text: str):
    label, complaint = label_or_complaint(text)
    assert complaint[:11] in ("", "node.name: ")
    assert len(complaint) < 3000
    assert len(label) <= MAX_CHARACTERS
    assert label.isprintable()
    assert label.encode("utf-8").decode("utf-8") == label
    assert label == ("" if complaint else text.strip())
    assert safe(Node("n", zone=text), "test").zone == label
