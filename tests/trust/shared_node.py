"""A node shared by several users: a mount namespace with its own /run, root's agent, and unprivileged users."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from tests.waiting import wait_for

from epochcost.demo.programs import free_port

EXPORTER = Path(__file__).resolve().parents[2] / "exporter"
EVENTS = "/run/epochcost"
PRICE_USD_PER_HOUR = 3600.0
"""A dollar a second."""
_SETUP = (
    "mount -t tmpfs -o mode=755 none /run && mount -t tmpfs -o mode=755 none /var/lib && "
    "install -d -m 1777 /run/epochcost && echo 4242424242 secretpin > /run/rootonly && chmod 600 /run/rootonly && "
    "echo ready && exec sleep infinity"
)


@lru_cache(maxsize=1)
def interpreter() -> str:
    """A Python that users other than root may run, with this package on its path; empty if there is none."""
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        probe = [
            "setpriv",
            "--reuid",
            "65534",
            "--regid",
            "65534",
            "--clear-groups",
            "--",
            python,
            "-c",
            "import epochcost",
        ]
        with contextlib.suppress(OSError):
            completed = subprocess.run(
                probe, env={"PYTHONPATH": str(EXPORTER)}, capture_output=True, check=False, cwd="/"
            )
            if completed.returncode == 0:
                return python
    return ""


def is_supported() -> bool:
    """Whether a test may create a namespace and become other users on this machine."""
    if os.geteuid() != 0:
        return False
    with contextlib.suppress(OSError):
        completed = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
        return completed.returncode == 0 and bool(interpreter())
    return False


class SharedNode:
    """The namespace and what runs in it.

    Attributes:
        port: of the agent, on loopback.
        log: the agent's.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port("127.0.0.1", 0)
        self.log = folder / "agent.log"
        self._processes: list[subprocess.Popen[str]] = []
        self._holder = subprocess.Popen(["unshare", "-m", "bash", "-c", _SETUP], stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n"

    def start_as(self, user: int, program: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Run a Python program as ``user``; its output can be read."""
        command = [interpreter(), "-u", "-c", program, *arguments]
        if user:
            command = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups", "--", *command]
        return self._start(command, {"PYTHONPATH": str(EXPORTER), **env}, subprocess.PIPE)

    def start_agent(self, *flags: str) -> subprocess.Popen[str]:
        """Root's agent, ready to be scraped."""
        command = [sys.executable, "-m", "epochcost", "agent", f"--web.listen-address=127.0.0.1:{self.port}"]
        command += ["--gpus.source=none", f"--price.usd-per-hour={PRICE_USD_PER_HOUR}", "--node.metadata=off", *flags]
        with self.log.open("a") as log:
            agent = self._start(command, {"PYTHONPATH": str(EXPORTER)}, log.fileno())
        wait_for(lambda: agent.poll() is not None or self.get("/-/ready"), what="the agent")
        assert agent.poll() is None, self.log.read_text()
        return agent

    def _start(self, command: Sequence[str], env: dict[str, str], out: int) -> subprocess.Popen[str]:
        inside = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--wd=/", "--", *command]
        clean = {"PATH": os.environ["PATH"], "EPOCHCOST_DIR": EVENTS, **env}
        process = subprocess.Popen(inside, env=clean, stdout=out, stderr=subprocess.STDOUT, text=True)
        self._processes.append(process)
        return process

    def get(self, path: str, seconds: float = 10.0) -> str:
        """The agent's response; empty without one within ``seconds``, by default the scrape timeout of Prometheus."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=seconds) as response:
                return str(response.read().decode())
        except OSError:
            return ""

    def samples(self) -> dict[tuple[str, str], float]:
        """A scrape, by name and run; empty if there was none."""
        return {
            (sample.name.removeprefix("epochcost_"), sample.labels.get("run", "")): sample.value
            for family in text_string_to_metric_families(self.get("/metrics"))
            for sample in family.samples
            if "state" not in sample.labels
        }

    def stop(self) -> None:
        """End all processes that were started."""
        for process in (*self._processes, self._holder):
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextlib.contextmanager
def shared_node() -> Iterator[SharedNode]:
    """One for the length of a block."""
    with tempfile.TemporaryDirectory() as folder:
        node = SharedNode(Path(folder))
        try:
            yield node
        finally:
            node.stop()
