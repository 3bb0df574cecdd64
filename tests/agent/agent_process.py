"""The agent as a process of its own, on a free port, with events and state in a directory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.waiting import wait_for


class AgentProcess:
    def __init__(self, directory: Path, *flags: str, env: dict[str, str] | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = directory / "agent.log"
        self.events = directory / "events"
        command = [sys.executable, "-m", "epochcost", "agent", f"--web.listen-address=127.0.0.1:{self.port}"]
        command += [f"--events.dir={self.events}", f"--state.dir={directory / 'state'}", *flags]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(command, stderr=out, stdout=out, env={**os.environ, **(env or {})})

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as err:
            with err:
                return err.code, err.read().decode()
        except OSError:
            return 0, ""

    def up(self) -> AgentProcess:
        wait_for(lambda: self.get("/-/ready")[0] == 200 or self.process.poll() is not None, what="the agent")
        assert self.process.poll() is None, self.log.read_text()
        return self

    def live(self) -> dict:
        return json.loads(self.get("/v1/live")[1])

    def end(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=15)
