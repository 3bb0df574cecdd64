"""Reported losses as the agent exports them: from a line of a file to /metrics."""

from __future__ import annotations

from pathlib import Path

from tests.agent.driven_agent import DrivenAgent, SimulatedMachine


def test_reported_values_are_exported_by_name_and_survive_a_restart_of_the_agent(tmp_path: Path):
    machine = SimulatedMachine(tmp_path)
    agent = DrivenAgent(machine)
    machine.write_event("start", epochs=4, experiment="lm")
    machine.write_event("progress", epoch=0.5, phase="train", metrics={"loss": 0.5, "val/acc": 0.25, "bad\nname": 1})
    agent.run(3)
    assert agent.value("run_reported_value", run="r", metric="loss") == 0.5
    assert agent.value("run_reported_value", run="r", metric="val/acc") == 0.25
    assert len([name for name, _ in agent.scrape() if name == "epochcost_run_reported_value"]) == 3
    machine.write_event("progress", epoch=0.75, metrics={"loss": -1.5, "val/acc": None})
    agent.run(1)
    agent.save()
    agent.close()
    again = DrivenAgent(machine)
    again.run(1)
    assert again.value("run_reported_value", run="r", metric="loss") == -1.5
    assert again.value("run_reported_value", run="r", metric="val/acc") is None
    again.close()


def test_a_line_whose_metric_is_not_a_number_is_skipped_entirely(tmp_path: Path):
    machine = SimulatedMachine(tmp_path)
    agent = DrivenAgent(machine)
    machine.write_event("start", epochs=4)
    machine.write_event("progress", epoch=0.5, phase="train", metrics={"loss": "0.5"})
    agent.run(2)
    assert agent.value("run_reported_value", run="r", metric="loss") is None
    assert agent.value("progress_events_total", result="malformed") == 1
    agent.close()
