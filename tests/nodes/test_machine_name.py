"""The agent's name for its machine, from firmware strings as they are, and what must not make one."""

from __future__ import annotations

from pathlib import Path

import pytest

from epochcost.nodes.machine_name import AnotherMachineError, MachineName, machine_name
from epochcost.nodes.node_source import NodeError

AWS = {"sys_vendor": "Amazon EC2", "product_name": "p4d.24xlarge", "board_asset_tag": "i-0abc1234def567890"}
GCP = {"product_name": "Google Compute Engine", "product_serial": "GoogleCloud-0123456789ABCDEF0123456789ABCDEF"}
METAL = {"sys_vendor": "Supermicro", "product_serial": "0123456789", "product_uuid": "4c4c4544-0043-3510-8052-b4c04f4a"}
MACHINE_ID = "a3f1c2d4e5b60718293a4b5c6d7e8f90"


def name(root: Path, dmi: dict[str, str], machine_id: str | None = MACHINE_ID, configured: str = "") -> MachineName:
    root.mkdir(exist_ok=True)
    for old in root.iterdir():
        old.unlink()
    for field, text in dmi.items():
        (root / field).write_text(f"{text}\n")
    if machine_id is not None:
        (root / "machine-id").write_text(f"{machine_id}\n")
    return machine_name("node7", configured, root, root / "machine-id")


def test_it_is_the_nodes_name_and_a_digest_of_the_strongest_identity(tmp_path: Path) -> None:
    here = name(tmp_path / "a", AWS)
    assert here.name == f"node7-{here.ids['cloud']}"
    assert len(here.ids["cloud"]) == 8
    assert name(tmp_path / "b", AWS, "b" * 32).name == here.name  # the instance is the same, whatever its image
    assert name(tmp_path / "b", {**AWS, "board_asset_tag": "i-0abc1234def567891"}).name != here.name


@pytest.mark.parametrize(("dmi", "kinds"), [(AWS, ["cloud", "machine_id"]), (GCP, ["cloud", "machine_id"]),
                                            (METAL, ["machine_id", "dmi"]), ({}, ["machine_id"])])  # fmt: skip
def test_every_available_identity_is_saved(tmp_path: Path, dmi: dict[str, str], kinds: list[str]) -> None:
    assert list(name(tmp_path / "a", dmi).ids) == kinds


@pytest.mark.parametrize(
    "meaningless", ["", "uninitialized", "0" * 32, "\n\n", "To be filled by O.E.M.", "Not Specified"]
)
def test_a_meaningless_identity_is_ignored(tmp_path: Path, meaningless: str) -> None:
    one, other = (name(tmp_path / "a", {"product_uuid": meaningless}, meaningless) for _ in range(2))
    assert not one.ids
    assert one.name != other.name  # generated once, and saved with the state


def test_nothing_secret_is_shown(tmp_path: Path) -> None:
    assert MACHINE_ID[:6] not in str(name(tmp_path / "a", METAL))


def test_a_configured_name_is_used(tmp_path: Path) -> None:
    it = name(tmp_path / "a", AWS, configured=" rack 7 / left ")
    assert it.name == "rack 7 / left"
    before = name(tmp_path / "a", AWS)
    assert it.restored(before.state()).name == "rack 7 / left"
    assert before.restored(it.state()).name == "rack 7 / left"  # for as long as the state is kept
    with pytest.raises(NodeError, match=r"--machine\.name: .* contains unprintable characters"):
        name(tmp_path / "a", AWS, configured="a\nb")


def test_a_generated_identity_is_kept_and_later_ones_are_added(tmp_path: Path) -> None:
    first = name(tmp_path / "a", {}, None)
    again = name(tmp_path / "a", METAL).restored(first.state())
    assert again.name == first.name
    assert set(again.ids) == {"machine_id", "dmi"}


def test_a_cloned_image_and_a_disk_that_moved_are_other_machines(tmp_path: Path) -> None:
    first = name(tmp_path / "a", AWS)
    clone = name(tmp_path / "a", {**AWS, "board_asset_tag": "i-0fff1234def567890"})
    assert clone.ids["machine_id"] == first.ids["machine_id"]
    with pytest.raises(AnotherMachineError, match=rf"it belongs to machine {first.name}, but this is {clone.name}"):
        clone.restored(first.state())


def test_an_agent_that_may_read_less_than_before_is_still_on_the_same_machine(tmp_path: Path) -> None:
    as_root, as_user = name(tmp_path / "a", METAL), name(tmp_path / "a", {"sys_vendor": "Supermicro"})
    assert as_user.restored(as_root.state()).name == as_root.name
    assert name(tmp_path / "a", METAL).restored(as_user.restored(as_root.state()).state()).name == as_root.name
