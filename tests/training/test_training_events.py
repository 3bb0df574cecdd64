"""What a training run reports, line by line."""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.training.programs import events, events_by_file, kinds
from tests.training.reporting import directory
from tests.waiting import wait_for

import epochcost
from epochcost.launch.event import CHOICES
from epochcost.model import Phase
from epochcost.training.run import PHASES

__all__ = ["directory"]


def test_a_run_reports_its_start_first_epoch_ends_and_end(directory: Path):
    with epochcost.run("char-lm", epochs=2, batch_size=20, budget_usd=5, samples_per_epoch=60) as run:
        for _ in run.epochs():
            for _ in run.batches([1, 2, 3]):
                pass
    lines = events(directory)
    assert kinds(lines) == ["start", "phase", "progress", "epoch_end", "epoch_end", "end"]
    start, phase, _, first, second, end = lines
    assert start["v"] == 1
    assert start["run"] == run.id
    assert run.id.startswith("char-lm-")
    assert start["experiment"] == "char-lm"
    assert start["unit"] == "epoch"
    assert (start["epochs"], start["batch_size"], start["budget_usd"], start["samples_per_epoch"]) == (2, 20, 5, 60)
    assert start["pid"] == os.getpid()
    assert start["lock"] is True
    assert "epoch" not in start  # a resumed run reports its position only later
    assert (phase["phase"], phase["epoch"]) == ("train", 0)
    assert (first["epoch"], first["step"], first["steps"], first["samples"]) == (1, 3, 3, 60)
    assert (second["epoch"], second["step"], second["samples"]) == (2, 6, 120)
    assert (end["status"], end["epoch"]) == ("finished", 2)


def test_times_are_wall_clock_and_monotonic_clock_of_the_event(directory: Path):
    before = (time.time(), time.monotonic())
    with epochcost.run("x"):
        pass
    after = (time.time(), time.monotonic())
    for line in events(directory):
        assert before[0] - 1e-6 <= float(str(line["ts"])) <= after[0] + 1e-6
        assert before[1] - 1e-6 <= float(str(line["mono"])) <= after[1] + 1e-6


def test_the_position_within_an_epoch_follows_the_loader(directory: Path):
    with epochcost.run("x", epochs=4) as run:
        positions = [run.epoch for _ in run.epochs(start=2) for _ in run.batches(range(4))]
    assert positions == [2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 3.75]


def test_a_loader_without_length_gives_whole_epochs_only(directory: Path):
    with epochcost.run("x", epochs=1) as run:
        positions = [run.epoch for _ in run.epochs() for _ in run.batches(iter([1, 2]))]
    assert positions == [0, 0]
    assert run.epoch == 1


def test_samples_give_the_position_where_no_loader_does(directory: Path):
    with epochcost.run("x", epochs=2, samples_per_epoch=100) as run:
        for _ in run.epochs():
            run.step(samples=25)
            first = run.epoch
            break
    assert first == 0.25


def test_a_second_loader_within_an_epoch_never_moves_the_position_back(directory: Path):
    with epochcost.run("x", epochs=1) as run:
        loaders = [range(3), range(5)]
        positions = [run.epoch for _ in run.epochs() for loader in loaders for _ in run.batches(loader)]
    assert positions == sorted(positions)  # type: ignore[type-var]


def test_an_epoch_whose_body_was_interrupted_has_not_ended(directory: Path):
    with epochcost.run("x", epochs=3) as run:
        for epoch in run.epochs():
            if epoch == 1:
                break
    assert [line["epoch"] for line in events(directory) if line["ev"] == "epoch_end"] == [1]


def test_epochs_without_a_plan_continue_until_the_loop_breaks(directory: Path):
    with epochcost.run("x") as run:
        for epoch in run.epochs():
            if epoch == 50:
                break
    assert run.epoch == 50


def test_a_resumed_run_continues_from_its_checkpoint(directory: Path):
    with epochcost.run("x", epochs=5, batch_size=10) as run:
        run.resume(epoch=3, step=300)
        epochs_done = list(run.epochs())
    assert epochs_done == [3, 4]
    resume = next(line for line in events(directory) if line["ev"] == "resume")
    assert (resume["epoch"], resume["step"], resume["samples"]) == (3, 300, 3000)


def test_a_run_resumed_within_an_epoch_continues_from_there(directory: Path):
    with epochcost.run("x", epochs=2, batch_size=10) as run:
        run.resume(epoch=1.5, step=6)
        for _ in run.epochs():
            positions = [run.epoch for _ in run.batches([3, 4], start=2)]
    assert positions == [1.5, 1.75]
    end = events(directory)[-1]
    assert (end["epoch"], end["step"], end["samples"]) == (2, 8, 80)


def test_steps_set_from_outside_and_counted_are_one_count(directory: Path):
    with epochcost.run("x", batch_size=10) as run:
        run.step(3)
        run.report(step=100)
        run.step(2)
    end = events(directory)[-1]
    assert (end["step"], end["samples"]) == (102, 1020)


def test_a_wait_for_data_is_a_phase_that_is_reported(directory: Path):
    with epochcost.run("x", epochs=1) as run:
        for _ in run.epochs():
            with run.phase("data"):
                pass
    phases = [line["phase"] for line in events(directory) if line["ev"] == "phase"]
    assert phases == ["train", "data", "train"]


def test_the_training_side_the_event_command_and_the_agent_know_the_same_phases():
    assert {phase.value for phase in Phase} == set(PHASES) == set(CHOICES["phase"])


def test_a_phase_ends_with_its_body_and_training_continues(directory: Path):
    with epochcost.run("x", epochs=1) as run:
        for _ in run.epochs():
            with run.phase("eval"):
                for _ in run.batches(range(3)):
                    pass
    phases = [line["phase"] for line in events(directory) if line["ev"] == "phase"]
    assert phases == ["train", "eval", "train"]
    assert "step" not in events(directory)[-1]  # evaluation steps are not training steps


def test_a_checkpoint_with_a_body_is_reported_when_it_is_saved(directory: Path):
    with epochcost.run("x", epochs=1) as run:
        for _ in run.epochs():
            with run.checkpoint():
                pass
    assert kinds(events(directory)) == ["start", "phase", "phase", "checkpoint", "phase", "epoch_end", "end"]
    assert [e["phase"] for e in events(directory)][2:5] == ["checkpoint", "checkpoint", "train"]


def test_a_checkpoint_that_failed_is_not_reported_as_one(directory: Path):
    with epochcost.run("x", epochs=1) as run:
        for _ in run.epochs():
            with pytest.raises(OSError, match="disk"), run.checkpoint():
                raise OSError("disk")
    assert "checkpoint" not in kinds(events(directory))


def test_a_plain_checkpoint_is_reported_with_the_time_it_was_made(directory: Path):
    with epochcost.run("x", epochs=1) as run:
        run.report(epoch=0.5)
        run.checkpoint()
        made_at = time.monotonic()
        wait_for(lambda: time.monotonic() > made_at + 0.02)
        run.epoch_end()
    checkpoint = next(line for line in events(directory) if line["ev"] == "checkpoint")
    assert float(str(checkpoint["mono"])) <= made_at
    assert kinds(events(directory)).count("checkpoint") == 1


def test_progress_is_written_at_most_once_a_second_and_at_least_that_often(
    directory: Path, monkeypatch: pytest.MonkeyPatch
):
    now = 1000.0
    for module in ("run_life", "run_loops"):
        monkeypatch.setattr(f"epochcost.training.{module}._monotonic", lambda: now)
    with epochcost.run("x") as run:
        for _ in range(320):
            run.step()
            now += 1 / 128
    lines = [line for line in events(directory) if line["ev"] == "progress"]
    assert [line["step"] for line in lines] == [129, 257]  # the first step reported the start of the training


def test_plain_calls_serve_a_loop_that_cannot_be_wrapped(directory: Path):
    epochcost.start("x", epochs=2)
    epochcost.step(samples=8, tokens=1000)
    epochcost.report(epoch=0.5, step=10)
    epochcost.phase("eval")
    epochcost.phase("train")
    epochcost.checkpoint()
    epochcost.epoch_end()
    epochcost.epoch_end(epoch=2)
    epochcost.resume(epoch=1)
    epochcost.end("failed")
    lines = events(directory)
    assert kinds(lines) == [
        "start", "phase", "phase", "phase", "checkpoint", "epoch_end", "epoch_end", "resume", "end",
    ]  # fmt: skip
    assert [line.get("epoch") for line in lines][5:] == [1, 2, 1, 1]
    assert (lines[-1]["status"], lines[-1]["tokens"], lines[-1]["samples"]) == ("failed", 1000, 8)


def test_a_loop_that_reports_epochs_alone_claims_no_steps(directory: Path):
    with epochcost.run("x") as run:
        run.report(epoch=0.5)
    assert all("step" not in line for line in events(directory))


def test_a_first_report_is_work_done_and_not_the_start_of_the_training(directory: Path):
    with epochcost.run("x", epochs=3) as run:
        run.report(epoch=1)
        run.report(epoch=2)
    assert [(e["ev"], e.get("epoch")) for e in events(directory)][:3] == [
        ("start", None), ("progress", 1), ("phase", 1),
    ]  # fmt: skip


def test_a_training_with_a_reported_start_begins_there(directory: Path):
    with epochcost.run("resumed", epochs=3) as run:
        run.resume(epoch=1)
        run.report(epoch=1)
    with epochcost.run("from 0", epochs=3) as run:
        run.report(epoch=0)
    first_kinds = sorted(kinds(lines)[:3] for lines in events_by_file(directory).values())
    assert first_kinds == [["start", "phase", "end"], ["start", "resume", "phase"]]


def test_a_run_id_used_again_gets_a_file_of_its_own(directory: Path):
    for _ in range(2):
        with epochcost.run("x", id="job-1"):
            pass
    assert len(events_by_file(directory)) == 2
    assert {line["run"] for lines in events_by_file(directory).values() for line in lines} == {"job-1"}


def test_runs_within_runs_are_ended_by_themselves(directory: Path):
    with epochcost.run("outer", id="outer"):
        with epochcost.run("inner", id="inner"):
            assert epochcost.current() is not None
            epochcost.step(3)
        epochcost.step(5)
    steps = {lines[-1]["run"]: lines[-1]["step"] for lines in events_by_file(directory).values()}
    assert steps == {"inner": 3, "outer": 5}


def test_the_memory_peak_is_read_and_never_falls(directory: Path):
    peaks = iter([10, 30, 20, 5, 5, 5])
    with epochcost.run("x", epochs=1, memory_peak=lambda: next(peaks)) as run:
        for _ in run.epochs():
            pass
    assert [line["memory_peak_bytes"] for line in events(directory)] == [10, 30, 30, 30]


def test_cost_comes_from_the_file_that_the_agent_writes(directory: Path):
    with epochcost.run("x", id="job-1") as run:
        (directory / "job-1.cost.json").write_text(
            json.dumps({"v": 1, "run": "job-1", "cost_usd": 1.5, "cost_per_epoch_usd": 0.25, "ts": 1.0})
        )
        assert run.cost_usd == 1.5
        assert run.cost_per_epoch_usd == 0.25
        assert run.projected_cost_usd is None


@pytest.mark.parametrize(
    "content", ["", "[", '{"v":2,"cost_usd":1}', '{"v":1,"cost_usd":NaN}', '{"v":1,"cost_usd":"1"}', "[" * 60000]
)
def test_a_nonsensical_cost_file_gives_no_cost(directory: Path, content: str):
    (directory / "job-1.cost.json").write_text(content)
    with epochcost.run("x", id="job-1") as run:
        assert run.cost_usd is None


def test_a_stale_cost_file_gives_no_cost(directory: Path):
    path = directory / "job-1.cost.json"
    path.write_text('{"v":1,"cost_usd":1}')
    os.utime(path, (time.time() - 3600, time.time() - 3600))
    with epochcost.run("x", id="job-1") as run:
        assert run.cost_usd is None


def test_if_another_users_run_has_the_same_id_the_dollars_are_those_of_the_own_run(directory: Path):
    (directory / "job-1.cost.json").write_text('{"v":1,"cost_usd":666}')
    (directory / f"job-1~{os.geteuid()}.cost.json").write_text('{"v":1,"cost_usd":2}')
    with epochcost.run("x", id="job-1") as run:
        assert run.cost_usd == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_files_of_another_user_of_the_node_are_neither_a_cost_nor_a_notice(directory: Path):
    for name, content in (
        ("job-1.cost.json", '{"v":1,"cost_usd":666}'),
        ("preemption.json", '{"v":1,"kind":"rebalance"}'),
    ):
        (directory / name).write_text(content)
        os.chown(directory / name, 65534, 65534)
    (directory / "secret").write_text('{"v":1,"cost_usd":7}')
    (directory / "job-2.cost.json").hardlink_to(directory / "secret")
    with epochcost.run("x", id="job-1") as run:
        assert (run.cost_usd, run.preemption_notice) == (None, None)
    with epochcost.run("x", id="job-2") as run:
        assert run.cost_usd is None
    os.chown(directory, 65534, 65534)  # the agent's user, where that is not root
    with epochcost.run("x", id="job-1") as run:
        assert run.cost_usd == 666


def test_a_number_beyond_any_float_is_ignored(directory: Path, caplog: pytest.LogCaptureFixture):
    huge = "1" + "0" * 400
    (directory / "job-1.cost.json").write_text(f'{{"v":1,"cost_usd":{huge},"cost_per_epoch_usd":0.25}}')
    (directory / "preemption.json").write_text(f'{{"v":1,"kind":"interruption","at_ts":{huge}}}')
    with epochcost.run("x", id="job-1") as run:
        assert (run.cost_usd, run.cost_per_epoch_usd) == (None, 0.25)
        assert run.preemption_notice is not None
        assert run.preemption_notice.at_ts is None
    assert "not reported" not in caplog.text


def test_a_fifo_in_place_of_the_cost_does_not_block(directory: Path):
    os.mkfifo(directory / "job-1.cost.json")
    with epochcost.run("x", id="job-1") as run:
        assert run.cost_usd is None


def test_loops_have_the_length_of_their_iterables(directory: Path):
    with epochcost.run("x", epochs=7) as run:
        assert len(run.epochs(start=2)) == 5
        assert len(run.batches([1, 2, 3])) == 3
        with pytest.raises(TypeError):
            len(run.batches(iter([1])))


def test_exceptions_of_the_loader_are_unchanged(directory: Path):
    def loader() -> Iterator[int]:
        yield 1
        raise RuntimeError("worker died")

    with pytest.raises(RuntimeError, match="worker died"), epochcost.run("x") as run:
        for _ in run.batches(loader()):
            pass
    assert events(directory)[-1]["status"] == "failed"


def test_a_run_passed_to_another_process_is_silent_there(directory: Path):
    with epochcost.run("x", id="job-1", epochs=2) as run:
        copy = pickle.loads(pickle.dumps(run))
        assert copy.id == "job-1"
        assert list(copy.epochs()) == [0, 1]
        copy.step()
        copy.end()
    assert kinds(events(directory)) == ["start", "end"]


def test_a_deleted_file_is_recreated_as_its_continuation(directory: Path):
    with epochcost.run("x", epochs=2) as run:
        for epoch in run.epochs():
            if epoch == 1:
                (deleted,) = directory.glob("*.jsonl")
                deleted.unlink()
    lines = events(directory)
    assert kinds(lines) == ["epoch_end", "end"]
    assert lines[0]["continues"] == deleted.name
    assert lines[0]["lock"] is True
    assert lines[0]["experiment"] == "x"


def test_a_start_that_could_not_be_written_is_written_later(tmp_path: Path, directory: Path, monkeypatch):
    blocked = tmp_path / "later"
    blocked.write_text("not a directory")
    monkeypatch.setenv("EPOCHCOST_DIR", str(blocked))
    with epochcost.run("x", epochs=1) as run:
        blocked.unlink()
        for _ in run.epochs():
            pass
    lines = events(blocked)
    assert kinds(lines) == ["start", "phase", "epoch_end", "end"]
    assert float(str(lines[0]["mono"])) <= float(str(lines[1]["mono"]))
