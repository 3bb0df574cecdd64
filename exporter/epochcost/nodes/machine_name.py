"""The agent's name for this machine, on each of its series: people can read it, and no other machine has it.

Host names and target labels are not enough: images are cloned, names used again, and each scrape configuration relabels
in its own way. So the name ends in a digest of the strongest identity that can be had at once, without a network.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epochcost.nodes.firmware import DMI, FirmwareSource
from epochcost.nodes.label import label_text
from epochcost.sha256 import sha256

log = logging.getLogger(__name__)

MACHINE_ID = Path("/etc/machine-id")
AWS_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,17}")
TELLS_APART = ("cloud", "dmi", "machine_id")
"""Whether saved state is of this machine: the first id that is known of both decides. Images may carry a machine id."""
DIGITS = 8
MAX_BYTES = 4096
MEANINGLESS = re.compile(r"[\s0fF-]*|uninitialized|none|not specified|default string|to be filled.*", re.IGNORECASE)
"""What firmware and images hold where they hold no identity."""


class AnotherMachineError(ValueError):
    """What was saved is of another machine; the text names it."""


@dataclass(frozen=True, slots=True)
class MachineName:
    """This machine's name, and what it was made of.

    Attributes:
        name: the value of label ``epochcost_machine``.
        ids: digests of its identities by kind, the strongest first: ``cloud``, ``machine_id``, ``dmi``.
        configured: people named it.
    """

    name: str
    ids: Mapping[str, str]
    configured: bool = False

    def state(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {"name": self.name, "ids": dict(self.ids)}

    def restored(self, state: Mapping[str, Any]) -> MachineName:
        """The name to continue with, where an earlier agent saved ``state``: the saved one, for it never changes.

        Raises:
            AnotherMachineError: when ``state`` was saved on another machine (a disk that moved, a cloned image).
            KeyError, TypeError, ValueError: when it is not what `state` makes.
        """
        name, ids = label_text(str(state["name"]), "machine"), {str(k): str(v) for k, v in state["ids"].items()}
        if not name:
            raise ValueError("a machine without a name")
        common = [kind for kind in TELLS_APART if kind in self.ids and kind in ids]
        if common and self.ids[common[0]] != ids[common[0]]:
            raise AnotherMachineError(f"it belongs to machine {name}, but this is {self.name}")
        return self if self.configured else MachineName(name, {**ids, **self.ids})


def machine_name(node: str, configured: str = "", dmi: Path = DMI, machine_id: Path = MACHINE_ID) -> MachineName:
    """This machine's name: as ``configured``, else ``node`` with a digest of what it is.

    Raises:
        NodeError: when what was configured cannot be a label.
    """
    ids = {kind: _digest(text) for kind, text in _identities(dmi, machine_id).items() if text}
    if name := label_text(configured, "--machine.name"):
        return MachineName(name, ids, configured=True)
    return MachineName(f"{node}-{next(iter(ids.values()), os.urandom(DIGITS // 2).hex())}", ids)


def _identities(dmi: Path, machine_id: Path) -> dict[str, str]:
    return {
        "cloud": _cloud_instance(dmi),
        "machine_id": _text(machine_id),
        "dmi": _text(dmi / "product_uuid").lower(),
    }


def _cloud_instance(dmi: Path) -> str:
    """The instance's id from its cloud's firmware; empty elsewhere, where a serial number may be any text."""
    seen = FirmwareSource(dmi).identify()
    if seen is None:
        return ""
    tag = _text(dmi / "board_asset_tag")
    if seen.provider == "aws":
        return tag if AWS_INSTANCE_ID.fullmatch(tag) else ""
    return _text(dmi / "product_serial")


def _text(path: Path) -> str:
    """The content of a file of one line; empty if it is missing, not readable, or a placeholder."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8", "replace").strip()
    except OSError:  # no such firmware, or for root alone
        return ""
    return "" if MEANINGLESS.fullmatch(text) else text


def _digest(text: str) -> str:
    """Keyed, for a machine id is not to be shown (machine-id(5))."""
    return sha256(f"epochcost machine {text}".encode()).hexdigest()[:DIGITS]
