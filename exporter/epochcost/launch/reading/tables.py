"""Tables with a column for the epoch: fastai, skorch, spaCy, Chainer and others print one row after the other."""

from __future__ import annotations

import re
from dataclasses import dataclass

from epochcost.launch.reading.progress import Form, Progress, Trust, count, number_of_epoch
from epochcost.launch.reading.vocabulary import EPOCH

MAX_COLUMNS = 40
MAX_TEXT = 600
IDLE_LINES = 2000
"""Lines without a row after which a table is over."""
_COLUMNS = re.compile(r"\s{2,}|\t|\s?[|│┃]\s?")
_COMMAS = re.compile(r"\s?[,;]\s?")
_EPOCH = re.compile(rf"{EPOCH}s?|e|ep|epoch\s?#", re.IGNORECASE)
_COLUMN = re.compile(r"[A-Za-z_][\w./()%-]{0,40}")
_STEP = re.compile(r"#|steps?|iter(?:ation)?s?|global_step|batch", re.IGNORECASE)
_CELL = re.compile(r"[-+]?\d[\d.,:eE+%/-]{0,24}[a-z]{0,3}|nan|inf|none|n/a|-|\+|[A-Za-z_]{1,12}", re.IGNORECASE)
_NUMERIC = re.compile(r"[-+]?\d[\d.,:eE+%/-]{0,24}[a-z]{0,3}|nan|inf|none|n/a|-|\+", re.IGNORECASE)


@dataclass(slots=True)
class _Head:
    columns: tuple[str, ...]
    epoch: int
    step: int | None
    between: re.Pattern[str]
    idle: int = 0


class Tables:
    """Remembers the head of the last table. `open` while its rows may come."""

    def __init__(self) -> None:
        self._head: _Head | None = None
        self._serial = 0

    @property
    def open(self) -> bool:
        """Whether rows may come, so that every line is worth a look."""
        return self._head is not None

    def parse(self, text: str, who: str) -> Progress | None:
        """The content of a row; a head is remembered."""
        text = text[:MAX_TEXT]
        cells = _cells(text, _COLUMNS if self._head is None else self._head.between)
        if (head := _head(cells, _COLUMNS) or _head(_cells(text, _COMMAS), _COMMAS)) is not None:
            if self._head is None or self._head.columns != head.columns:
                self._serial += 1
            self._head = head
            return None
        head = self._head
        if head is None:
            return None
        row = _row(head, cells)
        if row is None:
            head.idle += 1
            if head.idle > IDLE_LINES:
                self._head = None
            return None
        head.idle = 0
        number, step = row
        return Progress(
            "table",
            Form.END,
            Trust.NAMED,
            f"{who}table {self._serial}",
            number=number,
            run_step=step,
            counted=True,
        )


def _cells(text: str, between: re.Pattern[str]) -> list[str]:
    return [cell.strip() for cell in between.split(text.strip(" \t|│┃")) if cell.strip()][: MAX_COLUMNS + 1]


def _head(cells: list[str], between: re.Pattern[str]) -> _Head | None:
    if not 3 <= len(cells) <= MAX_COLUMNS or any(_NUMERIC.fullmatch(cell) and cell not in "-+" for cell in cells):  # noqa: PLR2004
        return None
    epoch = next((at for at, cell in enumerate(cells) if _EPOCH.fullmatch(cell)), None)
    if epoch is None:
        return None
    step = next((at for at, cell in enumerate(cells) if _STEP.fullmatch(cell)), None)
    if between is _COMMAS and not all(_COLUMN.fullmatch(cell) for cell in cells):
        return None  # a sentence
    return _Head(tuple(cells), epoch, step, between)


def _row(head: _Head, cells: list[str]) -> tuple[int, int | None] | None:
    """Number of the epoch, and the step, where ``cells`` are a row under ``head``."""
    if not len(head.columns) - 2 <= len(cells) <= len(head.columns) + 1 or len(cells) <= head.epoch:
        return None
    if not all(_CELL.fullmatch(cell) for cell in cells) or sum(1 for cell in cells if _NUMERIC.fullmatch(cell)) < 2:  # noqa: PLR2004
        return None
    number = number_of_epoch(cells[head.epoch])
    if number is None:
        return None
    step = count(cells[head.step]) if head.step is not None and head.step < len(cells) else None
    return None if head.step is not None and step is None else (number, step)
