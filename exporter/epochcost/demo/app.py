"""``epochcost demo``: play hours of a simulated fleet into a real Prometheus, then continue live until it is ended."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from epochcost.demo.demo_settings import DemoSettings
from epochcost.demo.exposition import scraped
from epochcost.demo.fleet import FLEET
from epochcost.demo.history import STEP_SECONDS, Fired, History, alert_lines, prometheus_command
from epochcost.demo.live import Live
from epochcost.demo.programs import INSTALL, Program, free_port, needed, program
from epochcost.demo.rules_for_replay import DemoError, config_dir, copy_rules
from epochcost.demo.scenario import HOUR
from epochcost.demo.simulated_agent import Fleet
from epochcost.shutdown import Ending

SIMULATED = "Everything shown is simulated: none of these machines, prices and training runs exist."


def run(settings: DemoSettings, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Play and serve until SIGTERM or SIGINT.

    Returns:
        0; 1 when it could not be played, with the reason on ``err``.
    """
    ending = Ending()
    try:
        with ExitStack() as stack:
            home = _home(settings.data_dir, stack)
            fleet, fired = _play(settings, home, err)
            out.writelines(
                f"{line}\n"
                for line in _show(settings, home, fleet, stack)
                + _summary(fired, fleet.epoch_ts + settings.hours * HOUR)
            )
            out.flush()
            ending.wait(threading.Event())
    except (DemoError, OSError) as error:
        err.write(f"epochcost demo: {error}\n")
        return 1
    return 0


def _home(chosen: str, stack: ExitStack) -> Path:
    if not chosen:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="epochcost-demo-")))
    home = Path(chosen)
    try:
        home.mkdir(parents=True, exist_ok=True)
        used = any(home.iterdir())
    except OSError as err:
        raise DemoError(f"--data.dir: {home} cannot be used: {err.strerror}") from None
    if used:
        raise DemoError(f"--data.dir: {home} is not empty")
    return home


def _play(settings: DemoSettings, home: Path, err: TextIO) -> tuple[Fleet, list[Fired]]:
    """The past, up to now."""
    for program_needed in ("prometheus", "promtool"):
        needed(program_needed)
    copy_rules(config_dir(settings.config_dir), home / "rules", FLEET.budget_usd_per_month)
    end_ts = time.time() // STEP_SECONDS * STEP_SECONDS
    history = History(home / "data", home / "rules", end_ts - settings.hours * HOUR, end_ts)
    began = time.monotonic()
    err.write(f"epochcost demo: simulating {settings.hours:g} hours of {len(FLEET.machines)} machines\n")
    fleet = Fleet(FLEET, history.start_ts)
    history.write(_reported(played(fleet, settings.hours * HOUR), err))
    took = time.monotonic() - began
    err.write(
        f"epochcost demo: simulated and stored in {took:.0f} s, {settings.hours * HOUR / took:.0f} times real time\n"
    )
    history.record(lambda done, whole: _say(err, f"recording rules {done} of {whole}"))
    fired = history.alerts()
    history.write(alert_lines(fired))
    return fleet, fired


def played(fleet: Fleet, length: float) -> Iterator[str]:
    """``length`` seconds of the fleet, as OpenMetrics lines in groups of one instant."""
    for t in fleet.play(0.0, length, STEP_SECONDS):
        yield "".join(scraped(fleet, t))


def _reported(instants: Iterator[str], err: TextIO) -> Iterator[str]:
    for number, lines in enumerate(instants):
        if number % 120 == 0:
            _say(err, f"{number * STEP_SECONDS / HOUR:g} h")
        yield lines


def _say(err: TextIO, what: str) -> None:
    err.write(f"epochcost demo: {what}\n")
    err.flush()


def _show(settings: DemoSettings, home: Path, fleet: Fleet, stack: ExitStack) -> list[str]:
    """Start everything; what to open."""
    host, port = settings.web_listen_address
    live = Live(fleet, settings.hours * HOUR, (host, free_port(host, port)))
    live.catch_up()
    live.start()
    stack.callback(live.stop)
    alertmanager = _alertmanager(settings, home, stack)
    prometheus = _prometheus(settings, home, live, alertmanager, stack)
    return [
        "",
        f"epochcost demo is up. {SIMULATED}",
        "",
        f"  live pages      {live.url}/",
        f"  Prometheus      {prometheus}/alerts",
        f"  Alertmanager    {alertmanager}/" if alertmanager else f"  no Alertmanager here ({INSTALL})",
        f"  Grafana         load grafana/dashboards with a data source at {prometheus} (docs/demo.md)",
        f"  a report        epochcost report --prometheus.url={prometheus} --from={settings.hours:g}h",
    ]


def _alertmanager(settings: DemoSettings, home: Path, stack: ExitStack) -> str:
    path = program("prometheus-alertmanager", "alertmanager")
    if not path:
        return ""
    host, port = settings.alertmanager_address
    address = (host, free_port(host, port))
    command = [
        path,
        f"--config.file={config_dir(settings.config_dir) / 'alertmanager.yml'}",
        f"--storage.path={home / 'alertmanager'}",
        f"--web.listen-address={host}:{address[1]}",
        "--cluster.listen-address=",
        "--log.level=warn",
    ]
    return stack.enter_context(Program("alertmanager", command, address, home / "alertmanager.log")).url


def _prometheus(settings: DemoSettings, home: Path, live: Live, alertmanager: str, stack: ExitStack) -> str:
    """The project's own configuration, with the demo's targets and rules."""
    targets: Mapping[str, Sequence[Any]] = {
        **live.targets(),
        "alertmanagers": [{"targets": [alertmanager.removeprefix("http://")]}] if alertmanager else [],
    }
    (home / "targets").mkdir()
    for name, groups in targets.items():
        (home / "targets" / f"{name}.yml").write_text(json.dumps(groups), encoding="utf-8")  # JSON is YAML
    text = (config_dir(settings.config_dir) / "prometheus.yml").read_text(encoding="utf-8")
    config = home / "prometheus.yml"
    config.write_text(re.sub(r"(?<![\w/])rules/\*\.yml", f"{home}/rules/*.yml", text), encoding="utf-8")
    host, port = settings.prometheus_address
    address = (host, free_port(host, port))
    command = prometheus_command(config, home / "data", address)
    return stack.enter_context(Program("prometheus", command, address, home / "prometheus.log")).url


def _summary(fired: Iterable[Fired], end_ts: float) -> list[str]:
    """Which alerts fire as history ends, in a few lines."""
    now = Counter(one.alert for one in fired if one.firing_ts is not None and end_ts - one.last_ts < 2 * STEP_SECONDS)
    alerts = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in sorted(now.items()))
    return ["", f"Firing now: {alerts}", "", "Ctrl-C ends all of it."]
