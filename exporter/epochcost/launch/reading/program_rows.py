"""Rows of programs: what a line of one kind looks like, as data. Ours and the user's are read the same way."""

from __future__ import annotations

import configparser
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

from epochcost.launch.reading.progress import Form, Progress, Trust, amount, count, number_of_epoch

GROUPS = frozenset({
    "epoch", "position", "finished", "epochs", "last", "step", "steps", "run_step", "run_steps", "samples",
    "batch_size", "examples", "percent", "who", "last_step",
})  # fmt: skip
TELLING = frozenset({"epoch", "position", "finished", "step", "run_step", "samples", "percent"})
OPTIONS = frozenset({
    "line", "has", "form", "first", "usual", "counted", "step_from", "evaluation", "complete", "example",
})  # fmt: skip
NAMES, IGNORE = "names", "ignore"
MAX_PATTERN = 1000
MAX_ROWS = 200
MAX_FILE_BYTES = 1 << 18


class RowError(ValueError):
    """A row cannot be used; the text contains which and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of line.

    Attributes:
        name: ``program.kind``.
        line: the regular expression.
        form: None for rows that only name the program, or mark a line as not being progress (see ``ignored``).
    """

    name: str
    line: str
    has: str = ""
    form: Form | None = None
    ignored: bool = False
    first: int | None = None
    usual: int | None = None
    counted: bool = True
    step_from: int = 1
    evaluation: bool = False
    complete: bool = False
    example: str = ""

    @property
    def pattern(self) -> re.Pattern[str]:
        """Compiled where it is first needed: most programs print nothing of most rows."""
        return _compiled(self.line)

    def progress(self, match: re.Match[str], who: str, trust: Trust) -> Progress | None:
        """The progress in the ``match`` of a line."""
        groups = match.groupdict()
        form, number, position = self.form, groups.get("epoch"), amount(groups.get("position"))
        if number is not None and count(number) is None:  # 3.25 is a position
            number, position = None, amount(number)
        if (finished := amount(groups.get("finished"))) is not None:
            number, position = None, finished
        if form is None or position is not None:
            form = Form.POSITION if position is not None else _form_of(groups)
        percent = amount(groups.get("percent"))
        step, steps = self._steps(groups)
        source = self.name.partition(".")[0]
        kind = f"{who}{groups.get('who') or ''}{source} {form.value}" + (f" {steps}" if form is Form.INNER else "")
        return Progress(
            source,
            form,
            trust,
            kind,
            evaluation=self.evaluation,
            number=number_of_epoch(number),
            first=self.first,
            usual=self.usual,
            position=position,
            epochs=amount((groups.get("epochs") or "").replace(",", "")),
            last=number_of_epoch(groups.get("last")),
            step=step,
            steps=steps,
            counted=self.counted,
            share=None if percent is None or percent > 100 else percent / 100,  # noqa: PLR2004 - per cent
            run_step=count(groups.get("run_step")),
            run_steps=count(groups.get("run_steps"), 1),
            samples=count(groups.get("samples")),
            batch_size=count(groups.get("batch_size"), 1),
            examples=count(groups.get("examples"), 1),
            complete=self.complete,
            decimals=len((groups.get("position") or "").partition(".")[2]),
        )

    def _steps(self, groups: Mapping[str, str | None]) -> tuple[int | None, int | None]:
        """The step, counted from 1, and how many there are."""
        step, steps = count(groups.get("step")), count(groups.get("steps"), 1)
        if steps is None and (last_step := count(groups.get("last_step"))) is not None:
            steps = last_step + 1
        if step is not None and self.step_from == 0:
            step = min(step + 1, steps or step + 1)
        return step, steps


@functools.lru_cache(maxsize=2 * MAX_ROWS)
def _compiled(line: str) -> re.Pattern[str]:
    return re.compile(line)


def _form_of(groups: Mapping[str, str | None]) -> Form:
    """Of a pattern that names no form."""
    if groups.get("epoch") is not None:
        return Form.WITHIN
    return Form.INNER if groups.get("step") is not None and groups.get("run_step") is None else Form.STEPS


def rows_of(text: str, *, checked: bool = True) -> tuple[Row, ...]:
    """The rows of a file.

    Raises:
        RowError: a section or an option of it cannot be used.
    """
    parser = configparser.RawConfigParser(
        delimiters=("=",), comment_prefixes=("#",), strict=True, empty_lines_in_values=False
    )
    try:
        parser.read_string(text)
    except configparser.Error as err:
        raise RowError(" ".join(str(err).split())[:300]) from None
    if len(parser.sections()) > MAX_ROWS:
        raise RowError(f"{len(parser.sections())} sections: at most {MAX_ROWS} are used")
    return tuple(_row(name, parser[name], checked=checked) for name in parser.sections())


def _row(name: str, options: Mapping[str, str], *, checked: bool) -> Row:
    if odd := sorted(set(options) - OPTIONS):
        raise RowError(f"[{name}]: no option {odd[0]!r}; known: {', '.join(sorted(OPTIONS))}")
    form = options.get("form", "")
    known = {one.value: one for one in Form}
    if form not in ("", NAMES, IGNORE, *known):
        raise RowError(f"[{name}]: form {form!r} is not one of {', '.join((*known, NAMES, IGNORE))}")
    first = options.get("first")
    if first not in (None, "0", "1"):
        raise RowError(f"[{name}]: first {first!r} is neither 0 nor 1")
    quiet = form in (NAMES, IGNORE, Form.SETTING.value)
    return Row(
        name,
        compiled(options.get("line", ""), f"[{name}]", telling=not quiet) if checked else options["line"],
        has=options.get("has", ""),
        form=known.get(form),
        ignored=form == IGNORE,
        first=None if first is None else int(first),
        usual=None if (usual := options.get("usual")) is None else int(usual == "1"),
        counted=options.get("counted", "yes") != "no",
        step_from=0 if options.get("step_from") == "0" else 1,
        evaluation=options.get("evaluation") == "yes",
        complete=options.get("complete") == "yes",
        example=options.get("example", ""),
    )


def compiled(pattern: str, name: str, *, telling: bool = True) -> str:
    """``pattern``, checked; ``name`` is how it is called in an error.

    Raises:
        RowError: it is not a regular expression, names an unknown group, or no group that gives a position.
    """
    if len(pattern) > MAX_PATTERN:
        raise RowError(f"{name}: {pattern[:40]!r}... is longer than {MAX_PATTERN} characters")
    try:
        expression = _compiled(pattern)
    except (re.error, OverflowError, RecursionError) as err:
        raise RowError(f"{name} {pattern!r}: {err}") from None
    names = set(expression.groupindex)
    if odd := sorted(names - GROUPS):
        raise RowError(f"{name} {pattern!r}: unknown group {odd[0]}; known: {', '.join(sorted(GROUPS))}")
    if not pattern or (telling and not names & TELLING):
        raise RowError(f"{name} {pattern!r}: needs a group named {', '.join(sorted(TELLING))}")
    return pattern


@functools.cache
def programs() -> tuple[Row, ...]:
    """The rows of known programs."""
    return rows_of(
        resources.files("epochcost.launch.reading").joinpath("programs.ini").read_text("utf-8"), checked=False
    )


def matching(rows: tuple[Row, ...], text: str) -> Iterator[tuple[Row, re.Match[str]]]:
    """The rows that ``text`` fits."""
    for row in rows:
        if row.has in text and (match := row.pattern.search(text)) is not None:
            yield row, match
