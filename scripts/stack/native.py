"""The stack as processes of this machine: what is installed runs, what is not is said."""

from __future__ import annotations

import os
import re
import shutil
import socket
from pathlib import Path

from scripts.stack.machine import Machine
from scripts.stack.processes import Stack, StartError, python
from scripts.stack.show import Pointers

__all__ = ["StartError", "start"]
AGENT, PRICES, PROMETHEUS, ALERTMANAGER, GRAFANA = 10835, 10836, 9090, 9093, 3000


def start(root: Path, stack: Stack, machine: Machine) -> Pointers:
    """Poller, agent, then what is installed of Alertmanager, Prometheus and Grafana; each is up before the next."""
    home = stack.home
    events = os.environ.get("EPOCHCOST_DIR") or str(home / "events")
    prices = _epochcost(stack, machine, "prices", PRICES, {"EPOCHCOST_STATE_DIR": str(home / "prices")})
    agent = _epochcost(
        stack,
        machine,
        "agent",
        AGENT,
        {
            "EPOCHCOST_STATE_DIR": str(home / "agent"),
            "EPOCHCOST_EVENTS_DIR": events,
            "EPOCHCOST_PRICES_URL": prices,
            "EPOCHCOST_PRICES_INTERVAL": "15s",
        },
    )
    alertmanager = _alertmanager(root, stack) if shutil.which("prometheus-alertmanager") else ""
    prometheus = _prometheus(root, stack, agent, prices, alertmanager) if shutil.which("prometheus") else ""
    grafana = _grafana(root, stack, prometheus) if prometheus and _grafana_home() else ""
    return Pointers(events, agent, prices, prometheus, alertmanager, grafana)


def _epochcost(stack: Stack, machine: Machine, command: str, port: int, environment: dict[str, str]) -> str:
    port = free_port(port)
    address = f"127.0.0.1:{port}"
    settings = {**machine.environment, **environment, "EPOCHCOST_WEB_LISTEN_ADDRESS": address}
    part = stack.start(command, [python(), "-m", "epochcost", command], settings)
    stack.wait_until_up(part, f"http://{address}/-/ready")
    return f"http://{address}"


def _alertmanager(root: Path, stack: Stack) -> str:
    address = f"127.0.0.1:{free_port(ALERTMANAGER)}"
    part = stack.start(
        "alertmanager",
        [
            "prometheus-alertmanager",
            f"--config.file={root / 'prometheus' / 'alertmanager.yml'}",
            f"--storage.path={stack.home / 'alertmanager'}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        ],
    )
    stack.wait_until_up(part, f"http://{address}/-/ready")
    return f"http://{address}"


def _prometheus(root: Path, stack: Stack, agent: str, prices: str, alertmanager: str) -> str:
    """The project's own configuration with this machine's ports, and a shorter interval for quick figures."""
    config = stack.home / "prometheus"
    shutil.rmtree(config / "targets", ignore_errors=True)
    (config / "targets").mkdir(parents=True)
    for name, url in (("agents", agent), ("prices", prices), ("alertmanagers", alertmanager)):
        if url:
            (config / "targets" / f"{name}.yml").write_text(f'- targets: ["{url.removeprefix("http://")}"]\n')
    text = (root / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    text = re.sub(r"^(\s+(?:scrape|evaluation)_interval: )\d+s$", r"\g<1>5s", text, flags=re.MULTILINE)
    text = re.sub(r"^(\s+scrape_timeout: )\d+s$", r"\g<1>5s", text, flags=re.MULTILINE)
    text = text.replace("rules/*.yml", f"{root}/prometheus/rules/*.yml")
    (config / "prometheus.yml").write_text(text, encoding="utf-8")
    address = f"127.0.0.1:{free_port(PROMETHEUS)}"
    part = stack.start(
        "prometheus",
        [
            "prometheus",
            f"--config.file={config / 'prometheus.yml'}",
            f"--storage.tsdb.path={config / 'data'}",
            f"--web.listen-address={address}",
            "--storage.tsdb.retention.time=90d",
        ],
    )
    stack.wait_until_up(part, f"http://{address}/-/ready")
    return f"http://{address}"


def _grafana_home() -> str:
    return next((p for p in ("/usr/share/grafana",) if shutil.which("grafana") and Path(p).is_dir()), "")


def _grafana(root: Path, stack: Stack, prometheus: str) -> str:
    address = f"127.0.0.1:{free_port(GRAFANA)}"
    environment = {
        "PROMETHEUS_URL": prometheus,
        "DASHBOARDS_DIR": str(root / "grafana" / "dashboards"),
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": address.rpartition(":")[2],
        "GF_PATHS_DATA": str(stack.home / "grafana"),
        "GF_PATHS_LOGS": str(stack.home / "logs"),
        "GF_PATHS_PROVISIONING": str(root / "grafana" / "provisioning"),
        # Only this machine can reach it, and it shows only what Prometheus shows: looking needs no password.
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_DISABLE_LOGIN_FORM": "true",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    }
    part = stack.start("grafana", ["grafana", "server", "--homepath", _grafana_home()], environment)
    stack.wait_until_up(part, f"http://{address}/api/health", 90.0)
    return f"http://{address}"


def free_port(preferred: int) -> int:
    """``preferred``, or another one when somebody has it already."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StartError("no free port on 127.0.0.1")
