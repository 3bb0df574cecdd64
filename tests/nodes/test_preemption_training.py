"""A training loop learns of its machine's preemption from a file that the agent writes beside its events."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from tests.training.programs import begin, train

from epochcost.agent.preemption_file import NAME, PreemptionFile
from epochcost.model import PreemptionNotice
from epochcost.training import notice as training_notice
from epochcost.training.cost import MAX_AGE_SECONDS
from epochcost.training.notice import NoticeFile

LOOP = """
import epochcost, sys
with epochcost.run("sum", epochs=3) as run:
    print(run.preemption_notice, flush=True)
    sys.stdin.readline()
    for _ in run.batches(range(10**9)):
        if run.preemption_notice:
            break
    print(run.preemption_notice.kind, run.preemption_notice.action, run.preemption_notice.at_ts)
    run.checkpoint()
"""
ASKS = """
import epochcost
with epochcost.run("sum", epochs=1) as run:
    print(run.preemption_notice)
"""


def reader(directory: Path) -> NoticeFile:
    return NoticeFile(lambda: directory)


def test_a_loop_learns_of_it_within_a_second_and_saves(tmp_path: Path):
    program = begin(LOOP, tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "None\n"
    notice = PreemptionNotice("interruption", "terminate", 1795249320.0, time.time(), at_t=1795249320.0)
    PreemptionFile(tmp_path).write(notice, 0.0)
    out, err = program.communicate("go\n", timeout=30)
    assert (out, err, program.returncode) == ("interruption terminate 1795249320.0\n", "", 0)


def test_every_rank_learns_of_it(tmp_path: Path):
    PreemptionFile(tmp_path).write(PreemptionNotice("rebalance", "rebalance", None, 5.0), 0.0)
    outcome = train(ASKS, tmp_path, RANK="3", LOCAL_RANK="3", WORLD_SIZE="8")
    assert "kind='rebalance'" in outcome.out


@pytest.mark.parametrize("directory", [None, "/nonexistent/epochcost"])
def test_without_an_agent_nothing_is_announced(directory: str | None):
    outcome = train(ASKS, directory, EPOCHCOST_DISABLE="1")
    assert (outcome.out, outcome.code) == ("None\n", 0)


def test_the_training_reads_the_file_as_the_agent_writes_it(tmp_path: Path):
    assert training_notice.NAME == NAME
    PreemptionFile(tmp_path).write(PreemptionNotice("interruption", "", None, 5.5), 0.0)
    assert reader(tmp_path).notice() == training_notice.PreemptionNotice("interruption", "", None, 5.5)


def test_it_is_read_at_most_once_a_second(tmp_path: Path):
    file = reader(tmp_path)
    assert file.notice() is None
    PreemptionFile(tmp_path).write(PreemptionNotice("interruption"), 0.0)
    assert file.notice() is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no JSON",
        "[]",
        "[" * 100_000,
        '{"v":2,"kind":"interruption"}',
        '{"v":1,"kind":"party"}',
        '{"v":1,"kind":["interruption"]}',
        '{"v":1}',
    ],
)
def test_a_nonsensical_file_announces_nothing(tmp_path: Path, content: str):
    (tmp_path / NAME).write_text(content)
    assert reader(tmp_path).notice() is None


def test_nonsensical_times_are_unknown(tmp_path: Path):
    document = {"v": 1, "kind": "interruption", "action": 7, "at_ts": "soon", "seen_ts": -1}
    (tmp_path / NAME).write_text(json.dumps(document))
    assert reader(tmp_path).notice() == training_notice.PreemptionNotice("interruption", "", None, None)


def test_a_file_that_an_agent_left_behind_long_ago_announces_nothing(tmp_path: Path):
    PreemptionFile(tmp_path).write(PreemptionNotice("interruption"), 0.0)
    old = time.time() - MAX_AGE_SECONDS - 1
    os.utime(tmp_path / NAME, (old, old))
    assert reader(tmp_path).notice() is None


def test_the_agent_rewrites_it_while_it_applies_and_removes_it_after(tmp_path: Path):
    file, notice = PreemptionFile(tmp_path), PreemptionNotice("interruption", "stop", 9.0, 5.0, at_t=9.0)
    file.write(notice, 100.0)
    (tmp_path / NAME).unlink()
    file.write(notice, 159.0)
    assert not (tmp_path / NAME).exists()
    file.write(notice, 160.0)
    assert json.loads((tmp_path / NAME).read_text())["action"] == "stop"
    file.write(None, 161.0)
    assert list(tmp_path.iterdir()) == []


def test_a_clock_change_while_it_applies_updates_its_date(tmp_path: Path):
    file = PreemptionFile(tmp_path)
    notice = PreemptionNotice("interruption", "stop", 9.0, 5.0, at_t=1009.0)
    file.write(notice, 100.0)
    file.write(notice, 101.0, 0.2)
    assert json.loads((tmp_path / NAME).read_text())["at_ts"] == 1009.0
    file.write(notice, 102.0, 7200.0)
    document = json.loads((tmp_path / NAME).read_text())
    assert (document["at_ts"], document["seen_ts"]) == (8209.0, 7205.0)


def test_an_unwritable_directory_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    file = PreemptionFile(tmp_path / "gone")
    for second in range(3):
        file.write(PreemptionNotice("interruption"), float(second))
    assert caplog.text.count("cannot notify training processes of a preemption: No such file or directory") == 1


def test_a_link_in_place_of_the_file_is_not_followed(tmp_path: Path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / NAME).symlink_to(victim)
    assert reader(tmp_path).notice() is None
    PreemptionFile(tmp_path).write(PreemptionNotice("interruption"), 0.0)
    assert victim.read_text() == "precious"
    assert not (tmp_path / NAME).is_symlink()
