"""The machine type that ``scripts/up`` detects, and its state for a later ``--stop``."""

from __future__ import annotations

import stat
import sys

import pytest
from scripts.stack import containers, machine
from scripts.stack.processes import Stack, StartError, stop_recorded

from epochcost.model import Node
from epochcost.nodes.metadata import Detected


def machine_with(
    monkeypatch: pytest.MonkeyPatch, firmware_node: Node, metadata_node: Node | None = None
) -> machine.Machine:
    """The result of `look_at_this_machine` with this firmware and this response of the metadata service."""
    monkeypatch.setattr(machine, "identify", lambda _: firmware_node)
    sources = {} if metadata_node is None else {"metadata": metadata_node}
    monkeypatch.setattr(machine, "detect", lambda _: Detected(sources, {}))
    return machine.look_at_this_machine({})


class TestThisMachine:
    def test_a_cloud_instance_with_a_known_type_keeps_it(self, monkeypatch):
        metadata_node = Node("n", provider="aws", region="us-east-1", instance_type="p3.2xlarge")
        detected = machine_with(monkeypatch, Node("n", provider="aws"), metadata_node)
        assert detected.environment == {}
        assert detected.sentence.startswith("This is a p3.2xlarge of aws in us-east-1.")

    def test_a_cloud_instance_without_one_is_priced_as_the_desktop_with_a_notice(self, monkeypatch):
        detected = machine_with(monkeypatch, Node("n", provider="gcp"))
        assert detected.environment == machine.DESKTOP
        assert "looks like a machine of gcp" in detected.sentence
        assert "owned desktop of $2,000" in detected.sentence

    def test_any_other_machine_is_the_desktop(self, monkeypatch):
        assert machine_with(monkeypatch, Node("n")).environment == machine.DESKTOP

    def test_settings_of_the_user_take_precedence(self):
        assert machine.look_at_this_machine({"EPOCHCOST_PRICE_USD_PER_HOUR": "3"}).environment == {}


class TestStateOfDetach:
    def test_stop_runs_the_stop_commands_and_ends_the_processes(self, tmp_path):
        stack = Stack(tmp_path / "home")
        part = stack.start("sleeper", [sys.executable, "-c", "import time; time.sleep(600)"])
        stack.on_stop([sys.executable, "-c", f"open({str(tmp_path / 'down')!r}, 'w')"])
        stack.leave_running()
        stack.stop()
        assert part.process.poll() is None
        assert not (tmp_path / "down").exists()
        assert stop_recorded(stack.home) == 0
        assert (tmp_path / "down").exists()
        assert part.process.wait(10) != 0
        assert stop_recorded(stack.home) == 0  # nothing is left to stop

    def test_a_failed_stop_is_reported_and_retried(self, tmp_path, capsys):
        stack = Stack(tmp_path / "home")
        stack.on_stop([sys.executable, "-c", "import sys; sys.exit('no engine')"])
        stack.leave_running()
        assert stop_recorded(stack.home) == 1
        assert "no engine" in capsys.readouterr().err
        assert stop_recorded(stack.home) == 1


class TestEventsDirectoryOfContainers:
    def test_every_user_can_write_there(self, tmp_path, monkeypatch):
        monkeypatch.delenv("EPOCHCOST_EVENTS_DIR", raising=False)
        monkeypatch.setattr(containers, "EVENTS", tmp_path / "run" / "epochcost")
        directory = containers.events_directory(tmp_path / "home")
        assert directory == tmp_path / "run" / "epochcost"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o1777

    def test_without_permission_it_is_in_the_checkout(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setattr(containers, "EVENTS", tmp_path / "file" / "epochcost")
        monkeypatch.delenv("EPOCHCOST_EVENTS_DIR", raising=False)
        directory = containers.events_directory(tmp_path / "home")
        assert directory == tmp_path / "home" / "events"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o1777

    def test_a_configured_directory_that_cannot_be_created_is_an_error(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("EPOCHCOST_EVENTS_DIR", str(tmp_path / "file" / "x"))
        with pytest.raises(StartError, match=r"EPOCHCOST_EVENTS_DIR: .* cannot be made"):
            containers.events_directory(tmp_path / "home")

    def test_an_existing_directory_is_left_unchanged(self, tmp_path, monkeypatch):
        (tmp_path / "mine").mkdir(mode=0o700)
        monkeypatch.setenv("EPOCHCOST_EVENTS_DIR", str(tmp_path / "mine"))
        assert stat.S_IMODE(containers.events_directory(tmp_path).stat().st_mode) == 0o700
