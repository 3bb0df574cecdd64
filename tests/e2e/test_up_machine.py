"""What ``scripts/up`` takes this machine for, and what it leaves for a later ``--stop``."""

from __future__ import annotations

import stat
import sys

import pytest
from scripts.stack import containers, machine
from scripts.stack.processes import Stack, StartError, stop_recorded

from epochcost.model import Node
from epochcost.nodes.metadata import Detected


def machine_with(monkeypatch: pytest.MonkeyPatch, known: Node, told: Node | None = None) -> machine.Machine:
    """As `look_at_this_machine` sees one with this firmware and this answer of the metadata service."""
    monkeypatch.setattr(machine, "identify", lambda _: known)
    found = {} if told is None else {"metadata": told}
    monkeypatch.setattr(machine, "detect", lambda _: Detected(found, {}))
    return machine.look_at_this_machine({})


class TestThisMachine:
    def test_a_cloud_instance_that_tells_its_type_keeps_it(self, monkeypatch):
        told = Node("n", provider="aws", region="us-east-1", instance_type="p3.2xlarge")
        seen = machine_with(monkeypatch, Node("n", provider="aws"), told)
        assert seen.environment == {}
        assert seen.sentence.startswith("This is a p3.2xlarge of aws in us-east-1.")

    def test_a_cloud_instance_that_does_not_is_priced_as_the_desktop_and_it_says_so(self, monkeypatch):
        seen = machine_with(monkeypatch, Node("n", provider="gcp"))
        assert seen.environment == machine.DESKTOP
        assert "looks like a machine of gcp" in seen.sentence
        assert "owned desktop of $2,000" in seen.sentence

    def test_any_other_machine_is_the_desktop(self, monkeypatch):
        assert machine_with(monkeypatch, Node("n")).environment == machine.DESKTOP

    def test_what_the_user_says_counts(self):
        assert machine.look_at_this_machine({"EPOCHCOST_PRICE_USD_PER_HOUR": "3"}).environment == {}


class TestWhatDetachLeaves:
    def test_stop_runs_what_ends_it_and_ends_the_processes(self, tmp_path):
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

    def test_what_could_not_be_ended_is_said_and_tried_again(self, tmp_path, capsys):
        stack = Stack(tmp_path / "home")
        stack.on_stop([sys.executable, "-c", "import sys; sys.exit('no engine')"])
        stack.leave_running()
        assert stop_recorded(stack.home) == 1
        assert "no engine" in capsys.readouterr().err
        assert stop_recorded(stack.home) == 1


class TestEventsDirectoryOfContainers:
    def test_everybody_can_write_there(self, tmp_path, monkeypatch):
        monkeypatch.delenv("EPOCHCOST_EVENTS_DIR", raising=False)
        monkeypatch.setattr(containers, "EVENTS", tmp_path / "run" / "epochcost")
        made = containers.events_directory(tmp_path / "home")
        assert made == tmp_path / "run" / "epochcost"
        assert stat.S_IMODE(made.stat().st_mode) == 0o1777

    def test_who_cannot_make_it_has_one_of_the_checkout(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setattr(containers, "EVENTS", tmp_path / "file" / "epochcost")
        monkeypatch.delenv("EPOCHCOST_EVENTS_DIR", raising=False)
        made = containers.events_directory(tmp_path / "home")
        assert made == tmp_path / "home" / "events"
        assert stat.S_IMODE(made.stat().st_mode) == 0o1777

    def test_one_that_the_user_named_and_that_cannot_be_made_is_an_error(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("EPOCHCOST_EVENTS_DIR", str(tmp_path / "file" / "x"))
        with pytest.raises(StartError, match=r"EPOCHCOST_EVENTS_DIR: .* cannot be made"):
            containers.events_directory(tmp_path / "home")

    def test_one_that_is_there_is_left_as_it_is(self, tmp_path, monkeypatch):
        (tmp_path / "mine").mkdir(mode=0o700)
        monkeypatch.setenv("EPOCHCOST_EVENTS_DIR", str(tmp_path / "mine"))
        assert stat.S_IMODE(containers.events_directory(tmp_path).stat().st_mode) == 0o700
