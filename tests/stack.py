"""Real Prometheus and Alertmanager for end-to-end tests: Debian's programs, the project's own configuration and rules.

Nothing is stood in for: the files of ``prometheus/`` are loaded, then quickened (see `hasten`), addresses are filled
in, and the programs run on loopback ports of the system's choice with their data under a test's directory.

    with WebhookReceiver() as hook, Alertmanager(tmp / "am", hook.url, speed=150) as alertmanager:
        with Prometheus(tmp / "prom", {"agents": [agent]}, alertmanager.address, speed=150) as prometheus:
            wait_for(lambda: prometheus.query("run:epochcost_epoch_cost_usd:mean"))
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import yaml
from tests.loopback import ExpositionServer, WebhookReceiver
from tests.waiting import wait_for

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Alertmanager", "ExpositionServer", "Prometheus", "Sample", "WebhookReceiver", "available", "hasten"]

ROOT = Path(__file__).resolve().parents[1]
PROMETHEUS_DIR = ROOT / "prometheus"
RULES_DIR = PROMETHEUS_DIR / "rules"
Sample = tuple[dict[str, str], float]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_RANGE = re.compile(r"\[([0-9a-z]+)(:[0-9a-z]*)?\]")
_OFFSET = re.compile(r"\boffset ([0-9a-z]+)")


def program(*names: str) -> str | None:
    """The first of ``names`` that this machine has, as a path."""
    return next((path for name in names if (path := shutil.which(name))), None)


def available() -> bool:
    """Whether this machine has both programs."""
    return bool(program("prometheus") and program("prometheus-alertmanager", "alertmanager"))


def shortened(duration: str, speed: float) -> str:
    """``5m`` at speed 60 -> ``5000ms``; never below 1 ms."""
    total = sum(int(number) * _MILLISECONDS[unit] for number, unit in _DURATION.findall(duration))
    return f"{max(1, round(total / speed))}ms"


def hasten(rules: Mapping[str, Any], speed: float, evaluation_interval: str) -> dict[str, Any]:
    """The same rules, ``speed`` times as quick: every range, offset and ``for`` is divided by it.

    Groups are evaluated every ``evaluation_interval``. Limits, names and texts stay: an alert that says
    "15 minutes" has waited 15 minutes / speed. Limits in seconds (ages of prices, lengths of epochs) are not touched.
    """
    groups = []
    for group in rules["groups"]:
        quick = [_hastened(rule, speed) for rule in group["rules"]]
        groups.append({**group, "interval": evaluation_interval, "rules": quick})
    return {"groups": groups}


@cache
def quick_rules(text: str, speed: float, evaluation_interval: str) -> str:
    """A file of rules, hastened, as JSON, which is YAML: PyYAML takes a second for all files, many times in a run."""
    return json.dumps(hasten(yaml.load(text, _LOADER), speed, evaluation_interval), ensure_ascii=False)


def _hastened(rule: Mapping[str, Any], speed: float) -> dict[str, Any]:
    quick = dict(rule)
    expr = _RANGE.sub(lambda m: f"[{shortened(m[1], speed)}{m[2] or ''}]", rule["expr"])
    quick["expr"] = _OFFSET.sub(lambda m: f"offset {shortened(m[1], speed)}", expr)
    if "for" in rule:
        quick["for"] = shortened(rule["for"], speed)
    return quick


class Program:
    """A program that logs its address and has ``/-/ready``."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            self.address = wait_for(self._listening, 30, f"{command[0]} listening (log: {log})")
            self.url = f"http://{self.address}"
            wait_for(self._ready, 30, f"{command[0]} being ready (log: {log})")
        except BaseException:
            self.stop()
            raise

    def _listening(self) -> str:
        text = self._log.read_text(errors="replace")
        if self._process.poll() is not None:
            raise AssertionError(f"it ended with {self._process.returncode}:\n{text}")
        match = re.search(r'msg="Listening on" address=(\S+)', text)
        return match[1] if match else ""

    def _ready(self) -> bool:
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(f"{self.url}/-/ready") as response:
            return response.status == 200
        return False

    def get(self, path: str, **parameters: str) -> Any:
        """The JSON document at ``path``."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as err:
            with err:
                raise AssertionError(f"{path}?{query}: {err.code}: {err.read().decode()}") from None

    def stop(self) -> None:
        """End the program and wait for it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


class Prometheus(Program):
    """The real Prometheus with the project's configuration.

    Args:
        directory: for the quickened configuration, the targets and the data.
        targets: ``host:port`` by what it is: ``agents``, ``prices``; a file in ``targets/`` each.
        alertmanager: ``host:port`` of an Alertmanager, or empty.
        rules: the directory whose ``*.yml`` are loaded.
        scrape_interval, evaluation_interval: as Prometheus writes durations.
        speed: how many times quicker ranges and waits go by, see `hasten`. Keep 5 minutes / speed above 4 scrapes.
    """

    def __init__(
        self,
        directory: Path,
        targets: Mapping[str, Sequence[str]],
        alertmanager: str = "",
        *,
        rules: Path = RULES_DIR,
        scrape_interval: str = "1s",
        evaluation_interval: str = "1s",
        speed: float = 1,
    ) -> None:
        self._targets = directory / "targets"
        self._targets.mkdir(parents=True)
        for name, addresses in {**targets, "alertmanagers": [alertmanager] if alertmanager else []}.items():
            self.retarget(name, addresses)
        (directory / "rules").mkdir()
        for source in sorted(rules.glob("*.yml")):
            (directory / "rules" / source.name).write_text(quick_rules(source.read_text(), speed, evaluation_interval))
        config = directory / "prometheus.yml"
        config.write_text(yaml.safe_dump(_quick_config(scrape_interval, evaluation_interval), sort_keys=False))
        command = [
            program("prometheus") or "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ]
        super().__init__(command, directory / "prometheus.log")

    def retarget(self, name: str, addresses: Sequence[str]) -> None:
        """Scrape ``addresses`` as ``name`` from now on; Prometheus watches the file."""
        fresh = self._targets / f".{name}"
        fresh.write_text(yaml.safe_dump([{"targets": list(addresses)}] if addresses else []))
        fresh.replace(self._targets / f"{name}.yml")

    def query(self, expr: str, at: float | None = None) -> list[Sample]:
        """The instant vector (or scalar) of ``expr``: labels and value of each series."""
        data = self.get("/api/v1/query", query=expr, **({"time": repr(at)} if at is not None else {}))["data"]
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def value(self, expr: str) -> float | None:
        """The value of ``expr`` where it is one series; None if it is none.

        Raises:
            AssertionError: when there are several.
        """
        vector = self.query(expr)
        if len(vector) > 1:
            raise AssertionError(f"{expr} has {len(vector)} series: {vector}")
        return vector[0][1] if vector else None

    def query_range(self, expr: str, start: float, end: float, step: float) -> list[tuple[dict[str, str], list[Any]]]:
        """The range of ``expr``: labels and ``[time, text]`` pairs of each series."""
        data = self.get("/api/v1/query_range", query=expr, start=repr(start), end=repr(end), step=repr(step))
        return [(series["metric"], series["values"]) for series in data["data"]["result"]]

    def alerts(self, state: str = "firing") -> list[dict[str, Any]]:
        """Alerts that are ``pending`` or ``firing``."""
        return [alert for alert in self.get("/api/v1/alerts")["data"]["alerts"] if alert["state"] == state]

    def unhealthy_rules(self) -> list[str]:
        """What rules failed with at their last evaluation."""
        groups = self.get("/api/v1/rules")["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] == "err"]


def _quick_config(scrape_interval: str, evaluation_interval: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((PROMETHEUS_DIR / "prometheus.yml").read_text())
    config["global"].update(
        scrape_interval=scrape_interval, scrape_timeout=scrape_interval, evaluation_interval=evaluation_interval
    )
    for job in config["scrape_configs"]:
        job.pop("scrape_interval", None)
    return config


class Alertmanager(Program):
    """The real Alertmanager with the project's routes and inhibition; its receiver is ``webhook_url``."""

    def __init__(self, directory: Path, webhook_url: str, *, speed: float = 1) -> None:
        directory.mkdir(parents=True)
        config = yaml.safe_load((PROMETHEUS_DIR / "alertmanager.yml").read_text())
        config["receivers"][0]["webhook_configs"] = [{"url": webhook_url, "send_resolved": True}]
        _quicken_route(config["route"], speed)
        path = directory / "alertmanager.yml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        command = [
            program("prometheus-alertmanager", "alertmanager") or "alertmanager",
            f"--config.file={path}",
            f"--storage.path={directory / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            "--cluster.listen-address=",
        ]
        super().__init__(command, directory / "alertmanager.log")

    def post(self, *alerts: Mapping[str, str]) -> None:
        """Hand it alerts, given by their labels, as Prometheus would."""
        body = json.dumps([{"labels": dict(labels)} for labels in alerts]).encode()
        request = urllib.request.Request(f"{self.url}/api/v2/alerts", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30):
            return

    def alerts(self) -> list[dict[str, Any]]:
        """Every alert it knows, with ``status.state`` (``active`` or ``suppressed``) and ``status.inhibitedBy``."""
        listed: list[dict[str, Any]] = self.get("/api/v2/alerts")
        return listed


def _quicken_route(route: dict[str, Any], speed: float) -> None:
    for key in ("group_wait", "group_interval", "repeat_interval"):
        if key in route:
            route[key] = shortened(route[key], speed)
    for child in route.get("routes", ()):
        _quicken_route(child, speed)
