"""A real Prometheus over hours of simulated history: samples and recording rules backfilled by promtool.

It stays up when run as a program, for a look: ``PYTHONPATH=exporter python -m tests.grafana.simulated_prometheus``.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from tests.grafana.scenarios import FLEETS, FOREVER, LENGTH
from tests.grafana.simulated_fleet import SimulatedFleet

from epochcost.demo import rulebook
from epochcost.demo.rulebook import Rule

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "prometheus" / "rules"
STEP_SECONDS = 30
BUDGET_USD = 1_000_000
"""A month, of every simulated fleet."""


def openmetrics(fleet: SimulatedFleet, length: float) -> Iterator[str]:
    """``length`` seconds of ``fleet`` as OpenMetrics text with time stamps (s), line by line."""
    for tick in range(1, int(length / STEP_SECONDS) + 1):
        t = float(tick * STEP_SECONDS)
        stamp = f"{fleet.epoch_ts + t:.3f}"
        for name, labels, value in fleet.samples(t):
            yield f"{series(name, labels)} {float(value)!r} {stamp}\n"
    yield "# EOF\n"


def series(name: str, labels: Mapping[str, str]) -> str:
    """``name{a="b"}``; simulated values need no escaping."""
    return f"{name}{{{','.join(f'{k}={json.dumps(v)}' for k, v in labels.items())}}}"


def backfill(fleet: SimulatedFleet, data: Path, length: float = LENGTH) -> None:
    """Write ``length`` seconds of ``fleet`` into ``data``, then recording rules in order of dependence, then alerts."""
    data.mkdir(parents=True, exist_ok=True)
    if not fleet.nodes and not fleet.with_poller:
        return
    _write(data, openmetrics(fleet, length))
    for rules in rulebook.passes(every_rule("record")):
        _backfill_rules(fleet, data, rules, length)
    with prometheus(data) as url:
        fired = list(_alerts(url, fleet.epoch_ts, length))
    _write(data, [*fired, "# EOF\n"])


def _write(data: Path, lines: Iterable[str]) -> None:
    text = data.parent / f"{data.name}.om"
    with text.open("w") as out:
        out.writelines(lines)
    _promtool("create-blocks-from", "openmetrics", str(text), str(data))
    text.unlink()


def _alerts(url: str, epoch_ts: float, length: float) -> Iterator[str]:
    """``ALERTS`` and ``ALERTS_FOR_STATE`` as Prometheus would have written them, once a minute."""
    for rule in every_rule("alert"):
        held = rulebook.seconds(rule.get("for", "0s"))
        for result in over(url, rule["expr"], epoch_ts + 60, epoch_ts + length, 60):
            labels = {k: v for k, v in result["metric"].items() if k != "__name__"}
            labels |= {"alertname": rule["alert"], **rule["labels"]}
            since = last = 0.0
            for t, _ in result["values"]:
                since = since if t - last <= 60 else t
                last = t
                state = "firing" if t - since >= held else "pending"
                yield f"{series('ALERTS', {**labels, 'alertstate': state})} 1 {t}\n"
                yield f"{series('ALERTS_FOR_STATE', labels)} {since} {t}\n"


def every_rule(kind: str) -> list[Rule]:
    """Every rule of the project of one kind (``record``, ``alert``), as in its file."""
    rules = rulebook.every_rule(RULES, kind)
    for rule in rules:
        if rule.get("record") == rulebook.BUDGET:
            rule["expr"] = f"vector({BUDGET_USD})"
    return rules


def _backfill_rules(fleet: SimulatedFleet, data: Path, rules: list[Rule], length: float) -> None:
    path = data.parent / f"{data.name}-rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "backfill", "interval": "30s", "rules": rules}]}))
    with prometheus(data) as url:
        _promtool(
            "create-blocks-from", "rules", f"--url={url}", f"--output-dir={data}",
            f"--start={int(fleet.epoch_ts) + 60}", f"--end={int(fleet.epoch_ts + length)}",
            f"--eval-interval={STEP_SECONDS}s", str(path),
        )  # fmt: skip
    path.unlink()


def _promtool(*args: str) -> None:
    done = subprocess.run(["promtool", "tsdb", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"promtool {args[:2]}: {done.stderr or done.stdout}")


@contextmanager
def prometheus(data: Path) -> Iterator[str]:
    """A real Prometheus over ``data`` on a port of its own; yields its URL."""
    port = _free_port()
    config = data.parent / "prometheus-simulated.yml"
    config.write_text("global: {}\n")
    command = [
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}", "--storage.tsdb.retention.time=50y",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error", "--query.lookback-delta=5m",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _await_ready(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _await_ready(url: str, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2):
                return
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.1)
    raise RuntimeError(f"Prometheus at {url} did not become ready in {seconds} s (exit status {process.poll()})")


def instant(url: str, query: str, t: float) -> list[dict[str, Any]]:
    """The result of an instant query at ``t`` (s since the Unix epoch)."""
    return _api(url, "query", {"query": query, "time": str(t)})


def over(url: str, query: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
    """The result of a range query."""
    return _api(url, "query_range", {"query": query, "start": str(start), "end": str(end), "step": str(step)})


def _api(url: str, path: str, params: dict[str, str]) -> list[dict[str, Any]]:
    body = urllib.parse.urlencode(params).encode()
    try:
        with urllib.request.urlopen(f"{url}/api/v1/{path}", data=body, timeout=30) as reply:
            result: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    except urllib.error.HTTPError as err:
        with err:
            raise RuntimeError(f"{params['query']}: {err.read().decode()}") from None
    return result


def main() -> None:
    """Serve a scenario up to now, and a while more, until interrupted; ``large 1800`` for half an hour of it."""
    name = sys.argv[1] if len(sys.argv) > 1 else "many"
    length = float(sys.argv[2]) if len(sys.argv) > 2 else LENGTH
    fleet = replace(FLEETS[name], epoch_ts=float(int(time.time()) - length))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        backfill(fleet, data, length + (FOREVER - LENGTH if name != "large" else 900))
        with prometheus(data) as url:
            print(url, flush=True)  # noqa: T201 - its only output
            try:
                time.sleep(86_400)
            except KeyboardInterrupt:
                return


if __name__ == "__main__":
    main()
