"""SIGTERM has the same effect as without a run; the run only records it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from tests.training.programs import events, events_by_file, train


def exit_status_of(tmp_path: Path) -> Any:
    return events(tmp_path)[-1].get("status")


@pytest.mark.parametrize("open_run", ["epochcost.run('x').start()", "epochcost.start('x')"])
def test_an_open_run_is_indistinguishable_from_the_default_action(tmp_path: Path, open_run: str):
    code = f"""
    import signal, epochcost
    {open_run}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.signal(signal.SIGTERM, signal.SIG_DFL) is signal.SIG_DFL
    """
    assert train(code, tmp_path).err == ""


# Each of these saves, and then leaves the process to whatever was there before it, in one of the usual ways.
CHAINS = {
    "calls it if it can": "callable(before) and before(number, frame)",
    "puts it back and sends the signal again": "signal.signal(number, before); os.kill(os.getpid(), number)",
    "ends by itself, or calls it": (
        "(signal.signal(number, signal.SIG_DFL), os.kill(os.getpid(), number)) if before == signal.SIG_DFL "
        "else before(number, frame)"
    ),
    "raises": "sys.exit(9)",
}
PROGRAM = """
import os, signal, sys, epochcost
def handler(number, frame):
    print("saved", flush=True)
    {chain}
if "{order}" == "before":
    before = signal.signal(signal.SIGTERM, handler)
if "{run}" == "run":
    run = epochcost.start("x")
if "{order}" != "before":
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, handler)
if "{order}" == "after the run" and "{run}" == "run":
    run.end()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    print("goes on")
finally:
    print("finally", flush=True)
"""


@pytest.mark.parametrize("order", ["before", "while", "after the run"])
@pytest.mark.parametrize("chain", CHAINS)
def test_a_handler_of_the_program_ends_it_as_without_epochcost(tmp_path: Path, chain: str, order: str):
    without, with_run = (
        train(PROGRAM.format(chain=CHAINS[chain], order=order, run=run), tmp_path) for run in ("none", "run")
    )
    assert with_run == without
    assert "saved" in without.out


def test_a_later_handler_that_calls_the_programs_through_ours_reaches_it(tmp_path: Path):
    code = """
    import os, signal, epochcost
    seen = []
    signal.signal(signal.SIGTERM, lambda *_: seen.append("first"))
    for _ in range(3):
        with epochcost.run("x"):
            before = signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda *a, before=before: (seen.append("later"), before(*a)))
    os.kill(os.getpid(), signal.SIGTERM)
    assert seen == ["later", "later", "later", "first"], seen
    """
    outcome = train(code, tmp_path)
    assert (outcome.code, outcome.err) == (0, "")


def test_the_programs_handler_is_restored_after_the_last_run(tmp_path: Path):
    code = """
    import signal, epochcost
    mine = lambda *_: None
    signal.signal(signal.SIGTERM, mine)
    with epochcost.run("x"):
        with epochcost.run("y"):
            pass
    assert signal.getsignal(signal.SIGTERM) is mine
    """
    assert train(code, tmp_path).err == ""


def test_a_run_is_preempted_also_after_a_framework_has_put_the_default_action_back(tmp_path: Path):
    code = """
    import os, signal, epochcost
    run = epochcost.start("x")
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGTERM, before)
    run.phase("train")
    os.kill(os.getpid(), signal.SIGTERM)
    """
    assert train(code, tmp_path).code == -signal.SIGTERM
    assert exit_status_of(tmp_path) == "preempted"


def test_called_by_another_handler_ours_ends_nothing(tmp_path: Path):
    code = """
    import _signal, os, signal, epochcost
    run = epochcost.start("x", epochs=2)
    found = _signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *a: found(*a))
    os.kill(os.getpid(), signal.SIGTERM)
    run.end()
    """
    assert train(code, tmp_path).code == 0
    assert exit_status_of(tmp_path) == "preempted"


def test_every_open_run_is_preempted(tmp_path: Path):
    code = """
    import os, signal, epochcost
    with epochcost.run("outer"):
        with epochcost.run("inner"):
            os.kill(os.getpid(), signal.SIGTERM)
    """
    assert train(code, tmp_path).code == -signal.SIGTERM
    assert {lines[-1]["status"] for lines in events_by_file(tmp_path).values()} == {"preempted"}


def test_a_run_of_another_thread_changes_nothing_and_goes_with_the_process(tmp_path: Path):
    code = """
    import os, signal, threading, time, epochcost
    begun = threading.Event()
    def work():
        with epochcost.run("x"):
            begun.set()
            time.sleep(60)
    threading.Thread(target=work, daemon=True).start()
    begun.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    """
    assert train(code, tmp_path).code == -signal.SIGTERM


def test_a_forked_child_dies_by_the_signal_at_once_and_the_parents_run_continues(tmp_path: Path):
    code = """
    import os, signal, time, epochcost
    with epochcost.run("x"):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    """
    assert train(code, tmp_path).err == ""
    assert exit_status_of(tmp_path) == "finished"
