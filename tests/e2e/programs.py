"""The project's own programs as processes, with the environment that a test gives them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """``epochcost COMMAND`` on a port of its own; `start` may be called again after `end`."""

    def __init__(self, command: str, directory: Path, flags: list[str], env: Mapping[str, str]) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self.log = directory / f"{command}.log"
        state = directory / f"{command}-state"
        self._command = [sys.executable, "-m", "epochcost", command, f"--web.listen-address={self.address}"]
        self._command += [f"--state.dir={state}", *flags]
        self._env = {**os.environ, **env}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Program:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self._command, stdout=out, stderr=out, env=self._env)
        wait_for(self._ready_or_gone, 30, f"{self._command[3]} being ready")
        assert self.process.poll() is None, self.log.read_text()
        return self

    def _ready_or_gone(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            return True
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def json(self, path: str) -> dict:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as response:
                return json.load(response)
        except urllib.error.HTTPError as err:
            with err:
                return json.load(err)

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=20)


def spot_poller(directory: Path, region: str, instance_type: str, env: Mapping[str, str]) -> Program:
    """A poller that queries AWS for one machine type, for its spot price every second."""
    flags = ["--prices.sources=aws", f"--aws.regions={region}", f"--aws.instance-types={instance_type}"]
    return Program("prices", directory, [*flags, "--aws.spot-interval=1s"], env)


def spot_agent(
    directory: Path, poller: Program, region: str, zone: str, instance_type: str, gpus: str, env: Mapping[str, str]
) -> Program:
    """An agent on node ``n1``, a spot machine of AWS, that polls ``poller`` every second."""
    node = {"name": "n1", "provider": "aws", "region": region, "zone": zone, "instance-type": instance_type}
    flags = [f"--events.dir={directory / 'events'}", f"--prices.url={poller.url}", "--prices.interval=1s"]
    flags += [f"--node.{key}={value}" for key, value in {**node, "purchase-option": "spot"}.items()]
    return Program("agent", directory, [*flags, f"--gpus.source={gpus}"], env)


def train(events: Path, run: str, epochs: int, samples: int, *more: str) -> subprocess.Popen[bytes]:
    """Run the project's example training."""
    command = [sys.executable, str(ROOT / "examples" / "char_lm.py"), "--framework", "numpy", "--hidden", "48"]
    command += ["--epochs", str(epochs), "--samples", str(samples), *more]
    env = {**os.environ, "EPOCHCOST_DIR": str(events), "EPOCHCOST_RUN": run, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env)
