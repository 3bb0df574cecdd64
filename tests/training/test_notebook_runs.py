"""Notebooks: an interrupted cell, a rerun cell, a kernel that is left open."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.training.programs import events, events_by_file
from tests.training.reporting import attempts, directory, of, write_cost
from tests.waiting import wait_for

import epochcost
from epochcost.training import notebook

__all__ = ["directory"]


class Shell:
    """IPython's, as far as its documented events go: before and after each cell, with the cell's result."""

    def __init__(self) -> None:
        self.hooks: dict[str, list[Callable[..., None]]] = {"pre_run_cell": [], "post_run_cell": []}
        self.events = SimpleNamespace(register=lambda event, hook: self.hooks[event].append(hook))

    def run(self, cell: Callable[[], object]) -> None:
        for hook in self.hooks["pre_run_cell"]:
            hook(SimpleNamespace())
        error: BaseException | None = None
        try:
            cell()
        except (Exception, KeyboardInterrupt) as err:  # noqa: BLE001 - as IPython does
            error = err
        for hook in self.hooks["post_run_cell"]:
            hook(SimpleNamespace(success=error is None, error_in_exec=error))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    shell_made = Shell()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell_made))
    monkeypatch.setattr(notebook, "_notebooks", [])
    shell_made.run(lambda: None)
    yield shell_made
    shell_made.run(lambda: None)  # which ends the wait for something to happen


def interrupted() -> None:
    raise KeyboardInterrupt


def test_a_cell_that_is_run_again_makes_a_run_each_time(directory: Path, shell: Shell, capsys):
    def cell() -> None:
        with epochcost.run("nb", epochs=2) as run:
            list(run.epochs())

    for _ in range(3):
        shell.run(cell)
    assert len(events_by_file(directory)) == 3
    assert capsys.readouterr().out == ""


def test_a_run_of_an_interrupted_cell_ends_with_it(directory: Path, shell: Shell, capsys):
    def cell() -> None:
        epochcost.start("nb", id="nb", epochs=2)
        interrupted()

    shell.run(cell)
    assert epochcost.current() is None
    assert of(events(directory), "end", "status") == [("failed",)]
    assert capsys.readouterr().out == "epochcost: run nb ended, because its cell was interrupted\n"


def test_a_run_of_an_earlier_cell_continues_after_an_interrupted_one(directory: Path, shell: Shell, capsys):
    run = epochcost.run("nb", id="nb", epochs=2)
    shell.run(run.start)
    shell.run(interrupted)
    assert run.is_open
    assert "stays open until epochcost.end(), or 3 minutes without a step" in capsys.readouterr().out


def test_a_run_whose_epochs_are_done_ends_with_the_cell_and_continues_with_the_next_loop(
    directory: Path, shell: Shell, capsys
):
    run = epochcost.run("nb", id="nb", epochs=2)
    trained: list[int] = []

    def loop() -> None:
        for epoch in run.epochs():
            trained.extend(epoch for _ in run.batches(range(3)))

    shell.run(run.start)
    for _ in range(3):
        shell.run(loop)
        assert not run.is_open
    assert trained == [0, 0, 0, 1, 1, 1] * 3
    assert capsys.readouterr().out.count("run nb ended, for all planned epochs are done") == 1
    assert [of(lines, "epoch_end", "epoch", "step") for lines in attempts(directory)] == [
        [(1, 3), (2, 6)],
        [(3, 9), (4, 12)],
        [(5, 15), (6, 18)],
    ]


def test_plain_functions_continue_the_run_that_the_notebook_ended(directory: Path, shell: Shell):
    def train() -> None:
        epochcost.start("nb", id="nb", epochs=1)
        epochcost.epoch_end()

    shell.run(train)
    assert epochcost.current() is None
    shell.run(epochcost.epoch_end)
    assert of(attempts(directory)[1], "epoch_end", "epoch") == [(2,)]


def test_a_kernel_left_open_is_charged_no_more_after_a_while(
    directory: Path, shell: Shell, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notebook, "IDLE_SECONDS", 0.2)
    run = epochcost.run("nb", id="nb")

    def train() -> None:
        run.start()
        run.step(3)

    shell.run(train)
    wait_for(lambda: not run.is_open, what="the run to end")
    wait_for(lambda: "run nb is no longer charged" in capsys.readouterr().out, what="the notebook to say so")
    shell.run(lambda: list(run.batches(range(2))))
    assert of(attempts(directory)[1], "start", "run", "step") == [("nb", 3)]
    assert run.state_dict()["step"] == 5


def test_outside_of_ipython_nothing_is_hooked(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    monkeypatch.setattr(notebook, "_notebooks", [])
    with epochcost.run("nb"):
        pass
    assert notebook._notebooks == []


def test_a_shell_without_hooks_is_harmless(directory: Path, monkeypatch: pytest.MonkeyPatch, caplog):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object))
    monkeypatch.setattr(notebook, "_notebooks", [])
    with epochcost.run("nb", epochs=1) as run:
        assert list(run.epochs()) == [0]
    assert of(events(directory), "end", "status") == [("finished",)]


def test_a_run_is_displayed_as_a_table(directory: Path):
    write_cost(directory, "r<1>", cost_usd=1)
    with epochcost.run("<b>", id="r", epochs=4, batch_size=2) as run:
        run.report(epoch=1.5, step=1500)
        write_cost(directory, "r", cost_usd=2.5, projected_cost_usd=6.25)
        html = run._repr_html_()
    cells = ["<th>epoch</th><td>1.5 of 4</td>", "<th>steps</th><td>1,500</td>", "<th>cost so far</th><td>$2.50</td>"]
    cells += ["<th>cost of an epoch</th><td>not known</td>", "<th>projected cost</th><td>$6.25</td>"]
    assert all(cell in html for cell in cells)


def test_a_name_in_the_table_is_escaped(directory: Path):
    assert "<script>" not in notebook.table({"run": "<script>alert(1)</script>"})
