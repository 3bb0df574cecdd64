"""From a line of output to its meaning: known programs first, then the general reader."""

from __future__ import annotations

import dataclasses
import re

from epochcost.launch.reading.bars import bar, keras
from epochcost.launch.reading.epoch_lines import dictionary, epoch_line, is_dictionary
from epochcost.launch.reading.line_prefix import strip_prefix
from epochcost.launch.reading.patterns import OwnPatterns
from epochcost.launch.reading.program_rows import matching, programs
from epochcost.launch.reading.progress import Form, Progress, Trust, amount, count, plain
from epochcost.launch.reading.tables import Tables
from epochcost.launch.reading.vocabulary import ANNOUNCED_EPOCHS, BARE_STEP, DECIMAL, EVALUATION, METRIC, NAMED_STEP

MAX_TEXT = 600
MAX_GENERAL = 1200
_BLANKS = re.compile(r" {5,}")


class LineReader:
    """Reads one line after the other. Never raises, and a line takes a bounded time.

    Attributes:
        lines: how many were looked at.
    """

    def __init__(self, own: OwnPatterns | None = None) -> None:
        self._own = own
        self._tables = Tables()
        self._bars_from: int | None = None
        self.lines = 0

    @property
    def wants_all(self) -> bool:
        """Whether lines without any of the words of progress may be of use as well."""
        return bool(self._own) or self._tables.open

    def parse(self, line: bytes) -> Progress | None:
        """What ``line`` reports; None if it is not about progress."""
        self.lines += 1
        if self._own and (progress := self._own.parse(line)) is not None:
            return progress
        text = plain(line)
        if not text or text.isspace():
            return None
        for row, match in matching(programs(), text):
            if row.form is None:
                if row.ignored:
                    return None
                self._bars_from = row.first
                continue
            who, _ = strip_prefix(text, match.start())
            return row.progress(match, _tag(who), Trust.KNOWN)
        return self._general(text)

    def _general(self, text: str) -> Progress | None:
        who, words = strip_prefix(_BLANKS.sub("    ", text[:MAX_GENERAL]))
        tag = _tag(who)
        if (progress := keras(words, tag) or bar(words, tag)) is not None:
            return self._counting(progress) if progress.kind else None
        if is_dictionary(words) and (progress := dictionary(words, tag)) is not None:
            return progress if progress.kind else None
        if (progress := self._tables.parse(words, tag)) is not None:
            return progress
        if (progress := epoch_line(words, tag)) is not None:
            return progress
        return _setting(words) or _counter(words[:MAX_TEXT], tag) or _figures(words[:MAX_TEXT])

    def _counting(self, progress: Progress) -> Progress:
        """Bars of a program that always counts from 0, where its name is known by other lines."""
        if self._bars_from is None or progress.form is not Form.WITHIN or progress.epochs is not None:
            return progress
        return dataclasses.replace(progress, first=self._bars_from)


def _tag(who: str) -> str:
    return f"{who}: " if who else ""


def _setting(text: str) -> Progress | None:
    """``epochs: 3`` in a configuration that is printed: worth little."""
    match = ANNOUNCED_EPOCHS.search(text)
    return None if match is None else Progress("configuration", Form.SETTING, epochs=amount(match["epochs"]))


def _figures(text: str) -> Progress | None:
    """``loss: 0.5, accuracy: 0.9``: of whatever was named on a line before."""
    metric = METRIC.search(text)
    if metric is None or DECIMAL.search(text, metric.end()) is None:
        return None
    return Progress("figures", Form.FIGURES, kind="figures")


def _counter(text: str, who: str) -> Progress | None:
    """A line that counts and names no epoch: ``12/40, train_loss: 0.5``, ``iter 100: loss 4.2``."""
    named = NAMED_STEP.search(text[:120])
    if named is not None:
        if EVALUATION.search(text[: named.start()]):
            return None
        step, steps = count(named["step"]), count(named["steps"], 1)
        word = text[named.start() :].split(None, 1)[0].lower()[:16].rstrip(":=[(,0123456789/")
        if steps is not None:
            return Progress(
                "counters",
                Form.INNER,
                Trust.NAMED,
                f"{who}counter {word} {steps}",
                step=step,
                steps=steps,
                counted=True,
            )
        if METRIC.search(text) and not word.startswith("batch"):
            return Progress("steps", Form.STEPS, Trust.GUESS, f"{who}steps {word}", run_step=step)
        return None
    bare = BARE_STEP.match(text)
    if bare is None or METRIC.search(text) is None:
        return None
    steps = count(bare["steps"], 1)
    return Progress("counters", Form.INNER, Trust.GUESS, f"{who}counter {steps}", step=count(bare["step"]), steps=steps)
