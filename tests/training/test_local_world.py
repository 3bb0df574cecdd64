"""Ranks that rendezvous on the loopback of one machine share a generated run id."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from epochcost.training.local_world import local_world_id


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def meets(monkeypatch: pytest.MonkeyPatch, address: object) -> None:
    """As JAX keeps it."""
    module = SimpleNamespace(global_state=SimpleNamespace(coordinator_address=address))
    monkeypatch.setitem(sys.modules, "jax._src.distributed", module)  # type: ignore[arg-type]


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def test_ranks_of_one_world_share_an_id_and_the_next_world_on_that_port_has_another(
    monkeypatch: pytest.MonkeyPatch, listening: socket.socket
):
    port = port_of(listening)
    meets(monkeypatch, f"127.0.0.1:{port}")
    first = local_world_id("net")
    assert re.fullmatch(r"net-[0-9a-f]{8}", first)
    meets(monkeypatch, f"localhost:{port}")
    assert local_world_id("net") == first, "another rank, told otherwise where to meet"
    listening.close()
    with socket.create_server(("127.0.0.1", port)):
        assert local_world_id("net") not in {first, ""}


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.7:{port}",
        "node-1:{port}",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:99999999",
        ":{port}",
        "",
        None,
        7,
        b"\xff",
    ],
)
def test_ranks_that_may_be_on_several_machines_share_none(
    monkeypatch: pytest.MonkeyPatch, listening: socket.socket, address: object
):
    address_given = address.format(port=port_of(listening)) if isinstance(address, str) else address
    meets(monkeypatch, address_given)
    assert not local_world_id("net")


def test_without_a_listener_there_is_no_shared_id(monkeypatch: pytest.MonkeyPatch, listening: socket.socket):
    port = port_of(listening)
    listening.close()
    meets(monkeypatch, f"127.0.0.1:{port}")
    assert not local_world_id("net")


def test_without_a_world_there_is_no_shared_id():
    assert not local_world_id("net")


@pytest.mark.parametrize("table", ["", "sl\nshort\n", "sl\n 0: \xff\xff 0 0A\n", "sl\n0: 0100007F:1234 0 0A 1 2\n"])
def test_an_unreadable_socket_table_gives_no_shared_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table: str):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(table)
    meets(monkeypatch, f"127.0.0.1:{0x1234}")
    assert not local_world_id("net", tmp_path)
    assert not local_world_id("net", tmp_path / "none")
