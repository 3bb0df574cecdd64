"""`epochcost guard check` and `replay`: policies as text, and over stored history."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from tests.guard.seen import COMMANDS, policy_set

from epochcost.cli import main
from epochcost.guard.guard_command import GuardSettings, check, play
from epochcost.guard.keep_files import names_of
from epochcost.guard.replay import Past, replay
from epochcost.store.promql_client import Series

POLICIES = f"{COMMANDS}\npolicies: [{{use: forgotten-machine, command: off}}, {{use: hung-run, command: cancel}}]"
MINUTES = 600


class Stored:
    """Ten hours: a run until minute 200, which hangs from minute 100; then nothing."""

    def over(self, query: str, start: float, end: float, step_seconds: float) -> list[Series]:
        assert step_seconds == 60
        times = [start + 60.0 * n for n in range(int((end - start) / 60) + 1)]
        machine = {"epochcost_machine": "n-1"}

        def series(low: int = 0, high: int = MINUTES, value: float = 1.0, **labels: str) -> Series:
            return Series({**machine, **labels}, [(t, value) for n, t in enumerate(times) if low <= n < high])

        by_name = {
            "node_price": [series(value=30.0)],
            "node_gpus": [series(value=8.0)],
            "cpu_utilization": [series(value=0.01)],
            "node_seconds": [
                series(0, 100, state="useful"), series(100, 200, state="stalled"), series(200, state="finished"),
            ],
            "run_state ": [series(0, 100, run="r", state="training"), series(100, 200, run="r", state="stalled")],
            "share_ratio": [series(0, 200, run="r")],
        }  # fmt: skip
        return next((match for name, match in by_name.items() if name in query), [])


def test_the_replay_shows_ended_and_affected_runs() -> None:
    hung, forgotten = replay(policy_set(POLICIES), Past(Stored(), 1.7e9, 1.7e9 + 60 * MINUTES))
    assert (hung.policy, hung.subject, hung.runs) == ("hung-run", "r", ("r",))
    assert (hung.t - 1.7e9) / 60 == pytest.approx(100 + 50, abs=2)
    assert hung.usd == pytest.approx(50 / 60 * 30, abs=1.5)
    assert (forgotten.policy, forgotten.subject, forgotten.runs) == ("forgotten-machine", "", ())
    assert (forgotten.t - 1.7e9) / 60 == pytest.approx(200 + 75, abs=2)
    assert forgotten.usd == pytest.approx((MINUTES - 275) / 60 * 30, abs=1.5)


def test_a_policy_is_described_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "guard.yml"
    file.write_text(POLICIES)
    out = io.StringIO()
    assert check(GuardSettings(policy_file=str(file)), out) == 0
    assert "forgotten-machine (dry run, reports what it would do): what is vacant or finished or held-idle for 45m" in (
        out.getvalue()
    )
    assert main(["guard", "check", "--policy", str(file)]) == 0
    file.write_text("policies: [{use: hung-run, whn: 1}]")
    assert main(["guard", "check", "--policy", str(file)]) == 2
    assert "guard.yml: line 1: policies[0].whn: unknown field" in capsys.readouterr().err
    assert main(["guard", "check"]) == 2


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--from", "now"], "--from must be earlier than --to, by a minute at least"),
        (["--from", "soon"], "--from: 'soon' is not valid: expected now, an age such as 7d"),
        (["--to", "2026-05-01T25:00:00Z"], "--to: '2026-05-01T25:00:00Z' is not valid"),
    ],
)
def test_a_period_that_is_none_is_named(
    flags: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "guard.yml"
    file.write_text(POLICIES)
    assert main(["guard", "replay", "--policy", str(file), "--prometheus.url", "http://127.0.0.1:1", *flags]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("begin", ["2h", "1790000000", "2026-05-01", "2026-05-01T00:00:00+02:00"])
def test_a_store_that_cannot_be_reached_is_one_line(begin: str, tmp_path: Path) -> None:
    file, err = tmp_path / "guard.yml", io.StringIO()
    file.write_text(POLICIES)
    settings = GuardSettings(policy_file=str(file), prometheus_url="http://127.0.0.1:1", begin=begin)
    assert play(settings, io.StringIO(), err) == 1
    assert err.getvalue().startswith("epochcost guard: http://127.0.0.1:1: request failed: ")


def test_a_keep_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EPOCHCOST_DIR", str(tmp_path))
    for name in names_of(os.geteuid()):
        (tmp_path / name).mkdir()  # in the way of each
    assert main(["keep", "4h"]) == 1
    assert capsys.readouterr().err == f"epochcost keep: {tmp_path}: all of this user's names are taken by others\n"
    assert main(["keep", "--end"]) == 0
    assert len(list(tmp_path.iterdir())) == len(names_of(os.geteuid()))


def test_a_second_keep_does_not_remove_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EPOCHCOST_DIR", str(tmp_path))
    tmp_path.chmod(0o1777)
    for run in ("a", "b", "a"):
        assert main(["keep", "4h", "--run", run]) == 0
    assert main(["keep", "2h"]) == 0
    assert sorted(file.read_text() for file in tmp_path.glob("keep*")) == [
        "14400s run=a\n",
        "14400s run=b\n",
        "7200s\n",
    ]
    for number in range(20):  # no more than the user's names
        assert main(["keep", "1h", "--run", f"r{number}"]) == 0
    assert len(list(tmp_path.glob("keep*"))) == 10
    assert main(["keep", "--end"]) == 0
    assert not list(tmp_path.glob("keep*"))
    capsys.readouterr()


def test_keep_writes_a_file_of_its_user_and_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EPOCHCOST_DIR", str(tmp_path))
    assert main(["keep", "4h", "--run", "r", "--why", "looking\x1b at it"]) == 0
    tmp_path.chmod(0o1777)
    for shared in (False, True):  # in a shared directory no user gets the name without a number
        assert main(["keep", "--end"]) == 0
        tmp_path.chmod(0o1777 if shared else 0o777)
        assert main(["keep", "4h", "--run", "r", "--why", "looking\x1b at it"]) == 0
        files = sorted(tmp_path.glob("keep*"))
        own_name = f"keep.{os.geteuid()}"
        assert [file.name for file in files] == ([own_name] if shared else ["keep", own_name])
        assert {file.read_text() for file in files} == {"14400s run=r looking? at it\n"}
    with pytest.raises(SystemExit) as wrong:
        main(["keep", "4 hours"])
    assert wrong.value.code == 2
    assert main(["keep", "--end"]) == 0
    assert not list(tmp_path.glob("keep*"))
    capsys.readouterr()
