"""`epochcost guard check` and `replay`: policies in words, and over a stored past."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from tests.guard.seen import COMMANDS, policy_set

from epochcost.cli import main
from epochcost.guard.guard_command import GuardSettings, check
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

        known = {
            "node_price": [series(value=30.0)],
            "node_gpus": [series(value=8.0)],
            "cpu_utilization": [series(value=0.01)],
            "node_seconds": [
                series(0, 100, state="useful"), series(100, 200, state="stalled"), series(200, state="finished"),
            ],
            "run_state ": [series(0, 100, run="r", state="training"), series(100, 200, run="r", state="stalled")],
            "share_ratio": [series(0, 200, run="r")],
        }  # fmt: skip
        return next((found for name, found in known.items() if name in query), [])


def test_the_past_says_what_would_have_been_ended_and_hit() -> None:
    hung, forgotten = replay(policy_set(POLICIES), Past(Stored(), 1.7e9, 1.7e9 + 60 * MINUTES))
    assert (hung.policy, hung.subject, hung.runs) == ("hung-run", "r", ("r",))
    assert (hung.t - 1.7e9) / 60 == pytest.approx(100 + 50, abs=2)
    assert hung.usd == pytest.approx(50 / 60 * 30, abs=1.5)
    assert (forgotten.policy, forgotten.subject, forgotten.runs) == ("forgotten-machine", "", ())
    assert (forgotten.t - 1.7e9) / 60 == pytest.approx(200 + 75, abs=2)
    assert forgotten.usd == pytest.approx((MINUTES - 275) / 60 * 30, abs=1.5)


def test_a_policy_is_said_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_second_keep_does_not_take_the_first_back(
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
    for number in range(20):  # no more than his names
        assert main(["keep", "1h", "--run", f"r{number}"]) == 0
    assert len(list(tmp_path.glob("keep*"))) == 10
    assert main(["keep", "--end"]) == 0
    assert not list(tmp_path.glob("keep*"))
    capsys.readouterr()


def test_keep_writes_a_file_that_is_its_users_and_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EPOCHCOST_DIR", str(tmp_path))
    assert main(["keep", "4h", "--run", "r", "--why", "looking\x1b at it"]) == 0
    tmp_path.chmod(0o1777)
    for shared in (False, True):  # where users share a directory, nobody has the name that needs no number
        assert main(["keep", "--end"]) == 0
        tmp_path.chmod(0o1777 if shared else 0o777)
        assert main(["keep", "4h", "--run", "r", "--why", "looking\x1b at it"]) == 0
        files = sorted(tmp_path.glob("keep*"))
        mine = f"keep.{os.geteuid()}"
        assert [file.name for file in files] == ([mine] if shared else ["keep", mine])
        assert {file.read_text() for file in files} == {"14400s run=r looking? at it\n"}
    with pytest.raises(SystemExit) as wrong:
        main(["keep", "4 hours"])
    assert wrong.value.code == 2
    assert main(["keep", "--end"]) == 0
    assert not list(tmp_path.glob("keep*"))
    capsys.readouterr()
