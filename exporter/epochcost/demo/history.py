"""Hours of simulated history in a real Prometheus: samples, then recording rules, then alerts.

A Prometheus evaluates rules only at its own present. So what its rules would have recorded is computed by promtool over
the played samples, with the project's own rules, and what its alerts would have done from their expressions and waits.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from epochcost.demo.programs import Program, free_port, needed
from epochcost.demo.rules_for_replay import DemoError, Rule, every_rule, passes, seconds
from epochcost.http_client import OK, Bounds, ExchangeError, Request, ask

QUERY_SECONDS, MAX_BYTES = 60.0, 256 * 2**20
STEP_SECONDS = 30.0
LOOKBACK_SECONDS = 1.5 * STEP_SECONDS
EVALUATION_LOOKBACK_SECONDS = STEP_SECONDS - 0.05
"""Less than a step: of two series that follow each other, as those of two hours, rules see one at a time."""
EVALUATED_SECONDS = 29.62
"""Delay after each step with which rules are evaluated: a Prometheus rarely does so at the instant of a scrape."""
ALERT_SECONDS = 60.0
"""How often the past's alerts are evaluated."""
LONG_BLOCKS = "--max-block-duration=54h"
"""As promtool makes them of text: by itself it reads all of the text again for every two hours."""


@dataclass(frozen=True, slots=True)
class Fired:
    """One alert of one set of labels, from when its condition became true to when it became false."""

    alert: str
    labels: Mapping[str, str]
    pending_ts: float
    firing_ts: float | None
    last_ts: float
    """The last evaluation at which its condition held."""


class History:
    """The data directory of a Prometheus, filled from ``start_ts`` to ``end_ts`` (seconds since the Unix epoch)."""

    def __init__(self, data: Path, rules: Path, start_ts: float, end_ts: float) -> None:
        self.data, self.rules, self.start_ts, self.end_ts = data, rules, start_ts, end_ts
        data.mkdir(parents=True, exist_ok=True)

    def write(self, lines: Iterable[str]) -> list[Path]:
        """Store OpenMetrics lines with their times (without the closing ``# EOF``); returns the new blocks."""
        return self._stored(self._text(lines, "samples"))

    def record(self, progress: Callable[[int, int], None] = lambda _done, _whole: None) -> None:
        """Compute every recording rule over what was written; ``progress`` is called after each pass."""
        order = list(passes(every_rule(self.rules, "record")))
        rounds = Counter(rule["record"] for some in order for rule in some)
        done: set[str] = set()
        before: dict[frozenset[str], list[Path]] = {}
        for some in order:
            remember = frozenset(rule["record"] for rule in some if rounds[rule["record"]] > 1)
            with self.served(EVALUATION_LOOKBACK_SECONDS) as url:
                once = self._text(self._evaluated(url, some, rounds.keys() - remember), "once")
                anew = self._text(self._evaluated(url, some, remember), "anew")
            self._stored(once)
            known = self._stored(anew)
            for block in before.get(remember, ()):  # what rules that remember knew a round ago
                shutil.rmtree(block, ignore_errors=True)
            before[remember] = known
            done.update(rule["record"] for rule in some)
            progress(len(done), len(rounds))

    def _evaluated(self, url: str, rules: Iterable[Rule], names: Collection[str]) -> Iterator[str]:
        """What the rules among ``rules`` that have one of ``names`` would have recorded, as OpenMetrics lines."""
        begin = self.start_ts + 2 * STEP_SECONDS + EVALUATED_SECONDS
        # What is due in the last second is left to the Prometheus that continues from here.
        for rule in rules:
            if rule["record"] not in names:
                continue
            for result in over(url, _nameless(rule["expr"]), begin, self.end_ts - 1.0, STEP_SECONDS):
                series = _series(rule["record"], {**result["metric"], **rule.get("labels", {})})
                yield "".join([f"{series} {value} {t}\n" for t, value in result["values"]])

    def _text(self, lines: Iterable[str], name: str) -> Path:
        path = self.data.parent / f"{self.data.name}-{name}.om"
        with path.open("w", encoding="utf-8") as out:
            out.writelines(lines)
            empty = not out.tell()
            out.write("" if empty else "# EOF\n")
        return path

    def _stored(self, text: Path) -> list[Path]:
        """Blocks of the content of ``text``, which is removed."""
        before = set(self.data.iterdir())
        if text.stat().st_size:
            _promtool("create-blocks-from", LONG_BLOCKS, "openmetrics", str(text), str(self.data))
        text.unlink()
        return sorted(set(self.data.iterdir()) - before)

    def alerts(self) -> list[Fired]:
        """Every alert of the past."""
        with self.served() as url:
            return [fired for rule in every_rule(self.rules, "alert") for fired in self._fired(url, rule)]

    def _fired(self, url: str, rule: Rule) -> Iterator[Fired]:
        wait = seconds(rule.get("for", "0s"))
        begin = self.start_ts + 2 * STEP_SECONDS
        for result in over(url, _nameless(rule["expr"]), begin, self.end_ts, ALERT_SECONDS):
            labels = result["metric"] | rule["labels"]
            for first, last in _stretches([float(t) for t, _ in result["values"]]):
                fires = first + wait if last - first >= wait else None
                yield Fired(rule["alert"], labels, first, fires, last)

    @contextmanager
    def served(self, lookback_seconds: float = LOOKBACK_SECONDS) -> Iterator[str]:
        """A Prometheus over the data, for a while; yields its URL."""
        address = ("127.0.0.1", free_port("127.0.0.1", 0))
        config = self.data.parent / "past.yml"
        config.write_text("global: {}\n", encoding="utf-8")
        log = self.data.parent / "past.log"
        # What is written afterwards has no markers of staleness: a series is gone when its next sample is missing.
        lookback = f"--query.lookback-delta={1000 * lookback_seconds:.0f}ms"
        command = [*prometheus_command(config, self.data, address), lookback]
        with Program("prometheus", command, address, log) as running:
            yield running.url


def prometheus_command(config: Path, data: Path, address: tuple[str, int]) -> list[str]:
    """How Prometheus is started over simulated data, which may be of any year."""
    return [
        needed("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=50y",
        f"--web.listen-address={address[0]}:{address[1]}",
        "--log.level=warn",
        # The past's alerts have waited already: let them continue from there.
        "--rules.alert.for-grace-period=0s",
    ]


def alert_lines(fired: Iterable[Fired]) -> Iterator[str]:
    """``ALERTS`` and ``ALERTS_FOR_STATE`` as Prometheus would have written them, once a minute."""
    for one in fired:
        labels = {**one.labels, "alertname": one.alert}
        for k in range(round((one.last_ts - one.pending_ts) / ALERT_SECONDS) + 1):
            t = one.pending_ts + k * ALERT_SECONDS
            state = "firing" if one.firing_ts is not None and t >= one.firing_ts else "pending"
            yield f"{_series('ALERTS', {**labels, 'alertstate': state})} 1 {t}\n"
            yield f"{_series('ALERTS_FOR_STATE', labels)} {one.pending_ts} {t}\n"


def over(url: str, query: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
    """The result of a range query."""
    body = urlencode({"query": query, "start": start, "end": end, "step": step}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = Request(f"{url}/api/v1/query_range", "POST", headers, body, by_proxy=False)
    try:
        answer = ask(request, Bounds.within(QUERY_SECONDS, MAX_BYTES))
    except ExchangeError as err:
        raise DemoError(f"{query}: {err}") from None
    if answer.status != OK:
        raise DemoError(f"{query}: {answer.body.decode(errors='replace')[:300]}")
    result: list[dict[str, Any]] = json.loads(answer.body)["data"]["result"]
    return result


def _nameless(expr: str) -> str:
    """The series that ``expr`` copies from others still have their names, and are then several in pieces."""
    return f"max without () (\n{expr}\n)"


def _stretches(times: list[float]) -> Iterator[tuple[float, float]]:
    """First and last of each stretch without a gap."""
    first = last = None
    for t in times:
        if first is None or last is None or t - last > ALERT_SECONDS + 1:
            if first is not None and last is not None:
                yield first, last
            first = t
        last = t
    if first is not None and last is not None:
        yield first, last


def _series(name: str, labels: Mapping[str, str]) -> str:
    return f"{name}{{{','.join(f'{k}={json.dumps(v, ensure_ascii=False)}' for k, v in labels.items())}}}"


def _promtool(*args: str, cwd: Path | None = None) -> None:
    done = subprocess.run(  # noqa: S603 - no shell, our own arguments
        [needed("promtool"), "tsdb", *args], capture_output=True, text=True, check=False, cwd=cwd
    )
    if done.returncode:
        raise DemoError(f"promtool tsdb {' '.join(args[:2])}: {(done.stderr or done.stdout).strip()[-500:]}")
