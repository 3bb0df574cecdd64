"""Which provider's machine is it? The firmware's vendor strings show it without network or credentials."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from epochcost.model import Node
from epochcost.nodes.label import label_text
from epochcost.nodes.node_source import NodeError

log = logging.getLogger(__name__)

DMI = Path("/sys/class/dmi/id")
FIELDS = ("sys_vendor", "product_name", "bios_vendor", "board_vendor", "chassis_asset_tag")
MAX_FIELD_BYTES = 4096
AZURE_ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
"""Sets Azure's machines apart from other Hyper-V guests and from Microsoft's laptops."""

RULES: tuple[tuple[str, str, str], ...] = (
    ("aws", "sys_vendor", "Amazon EC2"),
    ("aws", "bios_vendor", "Amazon EC2"),
    ("gcp", "product_name", "Google Compute Engine"),
    ("azure", "chassis_asset_tag", AZURE_ASSET_TAG),
    ("oracle", "chassis_asset_tag", "OracleCloud.com"),
    ("alibaba", "product_name", "Alibaba Cloud ECS"),
    ("huawei", "chassis_asset_tag", "HUAWEICLOUD"),
    ("digitalocean", "sys_vendor", "DigitalOcean"),
    ("hetzner", "sys_vendor", "Hetzner"),
    ("scaleway", "sys_vendor", "Scaleway"),
    ("vultr", "sys_vendor", "Vultr"),
    ("akamai", "sys_vendor", "Akamai"),
    ("akamai", "sys_vendor", "Linode"),
    ("upcloud", "sys_vendor", "UpCloud"),
    ("exoscale", "product_name", "Exoscale Compute Platform"),
)
"""Provider, field, and what the field holds there. A vendor alone is not enough where it also sells machines."""

AWS_INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")
"""``p4d.24xlarge``; AWS's Nitro machines carry it as their product name, its older Xen ones ``HVM domU``."""


class FirmwareSource:
    """Reads the DMI strings that the kernel shows under ``root``; a machine without any is not known."""

    name = "firmware"

    def __init__(self, root: Path = DMI) -> None:
        self._root = root

    def identify(self) -> Node | None:
        """The provider, on AWS the instance type too; None when no rule fits. Never raises."""
        strings = {field: self._string(field) for field in FIELDS}
        provider = provider_of(strings)
        if not provider:
            return None
        product = strings["product_name"]
        known = provider == "aws" and AWS_INSTANCE_TYPE.fullmatch(product)
        return Node("", provider, instance_type=product if known else "", source=self.name)

    def _string(self, field: str) -> str:
        path = self._root / field
        try:
            with path.open("rb") as file:
                return label_text(file.read(MAX_FIELD_BYTES).decode("utf-8", "surrogateescape"), str(path))
        except FileNotFoundError:
            return ""  # no DMI here: most ARM boards, many containers
        except (OSError, NodeError) as err:
            log.warning("firmware string left out: %s", err)
            return ""


def provider_of(strings: Mapping[str, str]) -> str:
    """The cloud whose machine has these firmware strings, lower case; empty for an unknown one."""
    for provider, field, content in RULES:
        if strings.get(field, "") == content:
            return provider
    return ""
