"""A Debian that boots under systemd in a container of its own: no network, nothing of this machine changes."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from tests.waiting import wait_for

REBOOT = 133
"""What nspawn ends with where whoever started it is to start it again."""
NUMBERS = itertools.count()


class Booted:
    """One machine: ``root`` is its file system; `run` is a shell as root in it."""

    def __init__(self, home: Path, tree: Path, python: str = "python3") -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.root = home / "machine"
        self.log = home / "console.log"
        self.name = f"epochcost-{os.getpid()}-{next(NUMBERS)}"
        self.python = python
        subprocess.run(["cp", "-a", str(tree), str(self.root)], check=True)
        self.boot()

    def boot(self) -> None:
        """Start it, and wait until systemd has finished booting."""
        command = ["systemd-nspawn", "-D", str(self.root), "-M", self.name, "--register=no", "--keep-unit", "-b"]
        with self.log.open("ab") as log:
            self.nspawn = subprocess.Popen(
                [*command, "--console=pipe", "--private-network"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

        def up() -> bool:
            assert self.nspawn.poll() is None, self.log.read_text()
            return self.leader() != 0 and self.state() in {"running", "degraded"}

        wait_for(up, 60, "the boot", every=0.2)

    def leader(self) -> int:
        """The host's pid of its first process; 0 between two boots."""
        children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def state(self) -> str:
        completed = subprocess.run(
            [*self._enter(), "systemctl", "is-system-running"], capture_output=True, text=True, check=False
        )
        return completed.stdout.strip()

    def _enter(self) -> list[str]:
        return ["nsenter", "-t", str(self.leader()), "-m", "-u", "-i", "-n", "-p", "-r", "-w"]

    def run(self, script: str, *, check: bool = True) -> str:
        """Returns what ``script`` printed."""
        command = [*self._enter(), "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-ec", script]
        completed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert completed.returncode == 0 or not check, f"{script}: {completed.stdout}{completed.stderr}"
        return completed.stdout

    def start(self, unit: str, script: str) -> None:
        """Begin ``script`` as the user ``ada``, by the machine's own systemd."""
        self.run(f"systemd-run --quiet --uid=ada --setenv=HOME=/tmp --unit={unit} -- sh -ec {shlex.quote(script)}")

    def running(self, unit: str) -> bool:
        """Whether what `start` started is still running."""
        return self.run(f"systemctl show -p ActiveState --value {unit}").strip() in {
            "active",
            "activating",
            "deactivating",
        }

    def reboot(self) -> None:
        """Reboot it: systemd stops whatever is running."""
        self.run("systemctl --no-block reboot")
        assert self.nspawn.wait(150) == REBOOT
        self.boot()

    def get(self, path: str) -> str:
        """A response of its agent; empty while it does not respond."""
        code = (
            f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:10835{path}', timeout=5).read().decode())"
        )
        return self.run(f'{self.python} -c "{code}"', check=False)

    def figure(self, name: str, label: str = "") -> float:
        """The sum of a metric's series whose labels hold ``label``; 0 if there is none."""
        lines = [x for x in self.get("/metrics").splitlines() if x.startswith(f"epochcost_{name}{{") and label in x]
        return sum(float(x.split()[-1]) for x in lines)

    def paths(self) -> set[str]:
        """All files and directories that outlive a boot, but for what the package manager and the log keep."""
        skipped = (
            "-path /proc -o -path /sys -o -path /run -o -path /dev -o -path /tmp -o -path /var/log -o -path /var/tmp"
        )
        listing = self.run(
            f"find / \\( {skipped} -o -path /var/lib/dpkg -o -path /var/cache -o -name '*-' \\) -prune -o -print"
        )
        return set(listing.splitlines())

    def live(self) -> dict[str, object]:
        body = self.get("/v1/live")
        return dict(json.loads(body)) if body else {}

    def end(self) -> None:
        if self.nspawn.poll() is None:
            self.nspawn.kill()
            self.nspawn.wait(30)
        shutil.rmtree(self.root, ignore_errors=True)
