"""Runs in notebooks: neither an interrupted cell nor a kernel that is left open is charged as training.

Works where the program runs under IPython, by its own hooks before and after a cell; loads nothing otherwise.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, Protocol

from epochcost.training.fit_call import WATCHER
from epochcost.training.summary import money

IDLE_SECONDS = 180.0


class NotebookRun(Protocol):
    """A run, as far as notebooks go."""

    fit: object
    cell: int
    parked: bool

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def is_open(self) -> bool:
        """It has begun and not ended."""

    @property
    def is_done(self) -> bool:
        """All planned epochs are done."""

    @property
    def quiet_seconds(self) -> float:
        """Since it last reported anything."""

    def end(self, status: str = "finished") -> None:
        """End it."""

    def park(self) -> None:
        """End it until it is used again."""


class Notebook:
    """The open runs of one IPython shell."""

    def __init__(self, shell: Any) -> None:  # noqa: ANN401 - IPython is not imported for its type
        self._runs: list[NotebookRun] = []
        self.parked: NotebookRun | None = None
        self._timer: threading.Timer | None = None
        self._printed: set[str] = set()
        self._cell = 0
        shell.events.register("pre_run_cell", self._before_cell)
        shell.events.register("post_run_cell", self._after_cell)

    def opened(self, run: NotebookRun) -> None:
        """``run`` began in the present cell."""
        run.cell = self._cell
        self._runs.append(run)

    def _before_cell(self, *_: object) -> None:
        self._cell += 1
        self._stop_timer()

    def _after_cell(self, result: Any = None, *_: object) -> None:  # noqa: ANN401 - as above
        WATCHER.look()
        broke = not getattr(result, "success", True)
        self._runs = [run for run in self._runs if run.is_open]
        for run in self._runs:
            if broke and (run.cell == self._cell or run.fit is not None):
                run.end("failed")
                self._say(run, "ended, because its cell was interrupted")
            elif run.is_done:
                self._park(run)
                self._say(run, "ended, for all planned epochs are done")
            else:
                self._say(run, f"stays open until epochcost.end(), or {IDLE_SECONDS / 60:g} minutes without a step")
        self._stop_timer()
        if any(run.is_open for run in self._runs):
            self._start_timer(IDLE_SECONDS)

    def _idle(self) -> None:
        waits = [IDLE_SECONDS - run.quiet_seconds for run in self._runs if run.is_open]
        for run in self._runs:
            if run.is_open and run.quiet_seconds >= IDLE_SECONDS:
                self._park(run)
                print(f"epochcost: run {run.id} is no longer charged: nothing happened for some minutes")  # noqa: T201
        remaining = [wait for wait in waits if wait > 0]
        if remaining:
            self._start_timer(min(remaining))

    def _park(self, run: NotebookRun) -> None:
        run.park()
        self.parked = run

    def _start_timer(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._idle)
        self._timer.daemon = True
        self._timer.start()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _say(self, run: NotebookRun, what: str) -> None:
        """A line under the cell, where the user looks; each once for a run."""
        line = f"epochcost: run {run.id} {what}"
        if line not in self._printed:
            self._printed.add(line)
            print(line)  # noqa: T201 - a notebook shows nothing else


_notebooks: list[Notebook] = []


def opened(run: NotebookRun) -> None:
    """``run`` began: under IPython it is looked after from now on."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None:
        return
    if not _notebooks:
        _notebooks.append(Notebook(shell))
    _notebooks[0].opened(run)


def parked() -> NotebookRun | None:
    """The run that was ended last until it is used again, for the plain functions; None if there is none."""
    run = _notebooks[0].parked if _notebooks else None
    return run if run is not None and run.parked else None


def table(rows: dict[str, str]) -> str:
    """``rows`` as HTML, as notebooks show tables."""
    from html import escape

    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table>{cells}</table>"


def dollars(usd: float | None) -> str:
    """An amount, or that it is not known."""
    return "not known" if usd is None else money(usd)
