"""What frameworks write into files of their own: pure parsers of their bytes, nothing raised whatever those are."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from epochcost.launch.reading.progress import Form, Progress, Trust, amount, count

Parser: TypeAlias = Callable[[bytes], "Progress | None"]
MAX_COLUMN = 64
MAX_ROW_BYTES = 65536


def results_csv(data: bytes) -> Progress | None:
    """Ultralytics' ``results.csv``: a row for each finished epoch, numbered from 0 in old versions."""
    rows = _rows(data)
    if not rows:
        return None
    first, last = count(_whole(rows[0].get("epoch"))), count(_whole(rows[-1].get("epoch")))
    if first is None or last is None or not any(name.startswith(("train/", "metrics/")) for name in rows[-1]):
        return None
    return _progress("results.csv", Form.END, number=last, first=min(first, 1))


def metrics_csv(data: bytes) -> Progress | None:
    """Lightning's ``metrics.csv``: epochs and steps from 0, a row now and then."""
    rows = [row for row in _rows(data) if count(_whole(row.get("epoch"))) is not None]
    if not rows or "step" not in rows[-1]:
        return None
    step = count(_whole(rows[-1]["step"]))
    number = count(_whole(rows[-1]["epoch"]))
    return _progress("metrics.csv", Form.WITHIN, number=number, first=0, run_step=None if step is None else step + 1)


def trainer_state(data: bytes) -> Progress | None:
    """Hugging Face's ``trainer_state.json``, beside each checkpoint."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or "global_step" not in document:
        return None
    position = _number(document.get("epoch"))
    epochs = _number(document.get("num_train_epochs"))
    if position is None:
        return None
    step = _step(document["global_step"])
    return _progress("trainer_state.json", Form.POSITION, position=position, epochs=epochs or None, run_step=step)


def _progress(name: str, form: Form, **figures: Any) -> Progress:  # noqa: ANN401 - fields of Progress
    return Progress(name, form, Trust.FILE, name, **figures)


def _rows(data: bytes) -> list[Mapping[str, str]]:
    """The first and the last whole row of a table, by the names of its columns."""
    lines = data.decode("utf-8", "replace").split("\n")[:-1]
    if len(lines) < 2 or max(map(len, lines)) > MAX_ROW_BYTES:  # noqa: PLR2004 - a head and a row
        return []
    try:
        head, first, last = (next(csv.reader([line]), []) for line in (lines[0], lines[1], lines[-1]))
    except csv.Error:
        return []
    names = [name.strip()[:MAX_COLUMN] for name in head]
    return [dict(zip(names, (field.strip() for field in row), strict=False)) for row in (first, last)]


def _whole(text: str | None) -> str | None:
    """``3.0`` as ``3``: some write all columns as floats."""
    return None if text is None else text.removesuffix(".0")


def _number(value: Any) -> float | None:  # noqa: ANN401 - whatever JSON holds
    return amount(repr(value)) if type(value) in (int, float) else None


def _step(value: Any) -> int | None:  # noqa: ANN401
    return count(repr(value)) if type(value) is int else None


FILES: Mapping[str, Parser] = {
    "results.csv": results_csv,
    "metrics.csv": metrics_csv,
    "trainer_state.json": trainer_state,
}
"""By the name that the framework gives to the file."""
