"""The stack as containers, by the project's docker-compose.yml."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path

from scripts.stack.machine import Machine
from scripts.stack.processes import Stack, StartError, answers
from scripts.stack.show import Pointers

EVENTS = Path("/var/run/epochcost")
PULL_SECONDS = 300.0


def compose_command() -> list[str]:
    """``docker compose`` or ``docker-compose``, whichever works; empty when neither does."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and _run([*command, "version"]).returncode == 0:
            return command
    return []


def cannot(root: Path) -> str:
    """Why containers cannot be used here; empty when they can."""
    if not shutil.which("docker"):
        return "there is no Docker here"
    if _run(["docker", "info"]).returncode != 0:
        return "the Docker engine does not answer"
    if not compose_command():
        return "neither `docker compose` nor docker-compose is installed"
    for image in images(root):
        if _run(["docker", "image", "inspect", image]).returncode and _run(["docker", "pull", "-q", image]).returncode:
            return f"the image {image} is not here and cannot be pulled"
    return ""


def images(root: Path) -> list[str]:
    """Every image that must be there: those of the services, and those that ours is built from."""
    import yaml  # here: `scripts/up --help` comes before anything is installed

    services = yaml.safe_load((root / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    pulled = {service["image"] for service in services.values() if "build" not in service}
    froms = [line.split()[1] for line in (root / "Dockerfile").read_text().splitlines() if line.startswith("FROM ")]
    return sorted(pulled | set(froms))


def start(root: Path, stack: Stack, machine: Machine) -> Pointers:
    """Build our image and start every service; stopping removes the containers and keeps the volumes."""
    events = events_directory(stack.home)
    password = os.environ.get("GF_ADMIN_PASSWORD") or _password(stack.home)
    environment = {
        **os.environ,
        **machine.environment,
        "GF_ADMIN_PASSWORD": password,
        "EPOCHCOST_EVENTS_DIR": str(events),
    }
    compose = [*compose_command(), "-f", str(root / "docker-compose.yml")]
    # Compose wants to know the password even to end what runs; any will do, so that none is written down.
    stack.on_stop(["env", "GF_ADMIN_PASSWORD=-", *compose, "down"])
    started = _run([*compose, "up", "--build", "--detach"], environment, 1800.0)
    if started.returncode:
        raise StartError(f"docker compose up failed:\n{started.stderr.decode(errors='replace')[-2000:]}")
    pointers = Pointers(
        str(events),
        "http://127.0.0.1:10835",
        "http://127.0.0.1:10836",
        "http://127.0.0.1:9090",
        "http://127.0.0.1:9093",
        "http://127.0.0.1:3000",
    )
    if not answers(f"{pointers.agent}/-/ready"):
        _wait(pointers)
    print(f"Grafana's admin password is in {stack.home / 'grafana-password'}")
    return pointers


def events_directory(home: Path) -> Path:
    """Where training processes of every user can write, and the agent, which is another user in its container.

    The usual place needs root; who is not has one of this checkout.
    """
    events_dir = os.environ.get("EPOCHCOST_EVENTS_DIR")
    directory = Path(events_dir) if events_dir else EVENTS
    try:
        return _for_everybody(directory)
    except OSError as err:
        if events_dir:
            raise StartError(f"EPOCHCOST_EVENTS_DIR: {directory} cannot be made: {err.strerror}") from None
        return _for_everybody(home / "events")


def _for_everybody(directory: Path) -> Path:
    if not directory.is_dir():
        directory.mkdir(parents=True)
        directory.chmod(0o1777)
    return directory


def _wait(pointers: Pointers) -> None:
    deadline = time.monotonic() + 120
    while not all(answers(f"{url}/-/ready") for url in (pointers.agent, pointers.prometheus)):
        if time.monotonic() > deadline:
            raise StartError("the containers are up, but agent or Prometheus do not answer; see `docker compose logs`")
        time.sleep(0.5)


def _password(home: Path) -> str:
    """A password of this checkout, made once, readable by its owner alone."""
    path = home / "grafana-password"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(secrets.token_urlsafe(18))
    return path.read_text(encoding="utf-8").strip()


def _run(
    command: list[str], environment: dict[str, str] | None = None, seconds: float = PULL_SECONDS
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as err:
        return subprocess.CompletedProcess(command, 124, err.stdout or b"", err.stderr or b"")
