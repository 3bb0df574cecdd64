"""Guards in the demo: the results of their dry run, and `epochcost guard replay` over the same history."""

from __future__ import annotations

import io
import json
import re
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from tests.demo.conftest import PlayedDemo

from epochcost.demo.fleet import FLEET, HUNG, NOTEBOOK, UNUSED
from epochcost.demo.simulated_guard import POLICIES, ready_policies
from epochcost.guard.guard_command import GuardSettings, play
from epochcost.guard.replay import Acted, Past, replay
from epochcost.store.store_access import connect
from epochcost.store.store_settings import StoreSettings

pytestmark = pytest.mark.stack
OWN_USD = 0.1566771
SHOWN_USD, LADDER = 0.5, 30 * 60.0
"""What a forgotten machine must have cost, and for how long it is asked then."""
FORGOTTEN = 3600 * SHOWN_USD / OWN_USD + LADDER
EAGER = """
policies:
  - {use: hung-run, when: {from_usd: 0}}
  - {use: forgotten-machine, command: off, when: {for: 20m, from_usd: 0}, ladder: [stop]}
commands: {off: {command: [/bin/true]}}
"""


def instant(demo_history: PlayedDemo, query: str, t: float) -> list[tuple[dict[str, str], float]]:
    query_string = urllib.parse.urlencode({"query": query, "time": demo_history.epoch_ts + t})
    with urllib.request.urlopen(f"{demo_history.url}/api/v1/query?{query_string}", timeout=30) as response:
        return [(r["metric"], float(r["value"][1])) for r in json.load(response)["data"]["result"]]


def replayed(demo_history: PlayedDemo, text: str, tmp_path: Path) -> str:
    file, out = tmp_path / "guard.yml", io.StringIO()
    file.write_text(text)
    begin, end = f"{demo_history.epoch_ts:.0f}", f"{demo_history.epoch_ts + demo_history.now:.0f}"
    assert play(GuardSettings(prometheus_url=demo_history.url, policy_file=str(file), begin=begin, end=end), out) == 0
    return out.getvalue()


def past(demo_history: PlayedDemo) -> Past:
    return Past(
        connect(StoreSettings(prometheus_url=demo_history.url)),
        demo_history.epoch_ts,
        demo_history.epoch_ts + demo_history.now,
    )


def of(acted: list[Acted]) -> dict[tuple[str, str, str], float]:
    return {(one.machine.rpartition("-")[0], one.policy, one.subject): one.t for one in acted}


def test_the_dry_run_counts_only_the_unused_machine(demo_history: PlayedDemo) -> None:
    for t, expected in (FORGOTTEN - 60, []), (FORGOTTEN + 60, [("sim-desktop-2", pytest.approx(OWN_USD))]):
        ended_usd = instant(demo_history, 'epochcost_guard_ended_usd_per_hour_total{result="dry_run"}', t)
        assert [(labels["instance"], usd) for labels, usd in ended_usd] == expected
    assert instant(demo_history, 'epochcost_guard_actions_total{result!="dry_run"}', demo_history.now - 60) == []


def test_pending_steps_and_keeps_are_exported(demo_history: PlayedDemo) -> None:
    waiting = instant(demo_history, "epochcost_guard_waiting_seconds", demo_history.now - 60)
    assert {(labels["instance"], labels["condition"]) for labels, _ in waiting} == {
        (UNUSED.name, "vacant"), (HUNG.name, "stalled"),
    }  # fmt: skip
    ((labels, until),) = instant(demo_history, "epochcost_guard_keep_until_timestamp_seconds", demo_history.now - 60)
    (keep,) = NOTEBOOK.keeps
    assert (labels["instance"], labels["why"], until) == (NOTEBOOK.name, keep.why, demo_history.epoch_ts + keep.end)
    assert all(value == 1 for _, value in instant(demo_history, "epochcost_guard_evidence", demo_history.now - 60))


def test_a_replay_over_the_stored_history_matches_the_dry_run(demo_history: PlayedDemo, tmp_path: Path) -> None:
    (at,) = of(replay(ready_policies(), past(demo_history))).items()
    assert at == ((UNUSED.name, "forgotten-machine", ""), pytest.approx(demo_history.epoch_ts + FORGOTTEN, abs=180))
    ended_usd = replayed(demo_history, POLICIES, tmp_path)
    assert re.match(
        r"2023-11-15 01:4\d UTC  sim-desktop-2-\S+  forgotten-machine: stops the machine, vacant; ", ended_usd
    )
    left_usd = (demo_history.now - FORGOTTEN) / 3600 * OWN_USD
    assert f"1 stops; ${left_usd:.2f} were paid for nothing after them." in ended_usd
    assert "Runs that they would have hit: none." in ended_usd


def test_a_replay_names_the_runs_that_would_have_been_ended(demo_history: PlayedDemo, tmp_path: Path) -> None:
    ended_usd = replayed(demo_history, EAGER, tmp_path)
    stops = {
        (line.split()[3].rpartition("-")[0], line.split()[4]) for line in ended_usd.splitlines() if " UTC " in line
    }
    (hung,) = HUNG.attempts
    assert (HUNG.name, "hung-run:") in stops
    assert f"Runs that they would have hit: {hung.run}." in ended_usd
    # the H100 was empty before its run; the cells of the notebook are 25 minutes apart.
    assert stops == {
        (HUNG.name, "hung-run:"), (UNUSED.name, "forgotten-machine:"), ("sim-h100-01", "forgotten-machine:"),
        (NOTEBOOK.name, "forgotten-machine:"),
    }  # fmt: skip
    unpriced = {machine.name for machine in FLEET.machines if not machine.priced}
    assert unpriced.isdisjoint(name for name, _ in stops)
