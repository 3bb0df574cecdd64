"""Trees of distributions for containers: by debootstrap, made once and kept in the tests' cache."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest
from tests.kept import cache_dir

SCRIPTS = Path("/usr/share/debootstrap/scripts")
KEYRING = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
INCLUDED = "systemd,systemd-sysv,dbus,python3,procps"
NOT_KNOWN = {"noble": "jammy"}
"""Suites that are newer than this debootstrap, and the one whose script makes them as well."""
SECONDS = 900.0


def tree_of(suite: str, *flags: str, extra: str = "") -> Path:
    """A tree of ``suite``; the test is skipped where its distribution cannot be reached."""
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    tree = cache / "-".join(["tree", suite, *filter(None, (extra, *(x.rpartition("=")[2].strip("-") for x in flags)))])
    with (cache / f"{tree.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.is_dir():
            fresh = cache / f"{tree.name}.{os.getpid()}"
            command = [
                "debootstrap",
                "--variant=minbase",
                f"--include={','.join(filter(None, (INCLUDED, extra)))}",
                *flags,
                *_unsigned(suite),
            ]
            script = [] if (SCRIPTS / suite).exists() else ["", str(SCRIPTS / NOT_KNOWN[suite])]
            completed = subprocess.run(
                [*command, suite, str(fresh), *script], capture_output=True, text=True, timeout=SECONDS, check=False
            )
            if "Failed getting release" in completed.stdout + completed.stderr:
                pytest.skip(f"{suite}: its archive cannot be reached")
            assert completed.returncode == 0, completed.stdout[-2000:] + completed.stderr[-2000:]
            fresh.rename(tree)
    return tree


def _unsigned(suite: str) -> list[str]:
    """Debian has no keyring of Ubuntu: such a tree runs in a container without a network, and nothing trusts it."""
    return ["--no-check-gpg"] if suite in {"jammy", "noble"} and not KEYRING.exists() else []
