"""What takes long to build and is the same each time is kept between runs, and between the processes of one run."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MADE_FROM = ("exporter/epochcost", "prometheus/rules", "tests/grafana", "tests/labels", "tests/kept.py")
"""Whatever a simulated history may depend on; another byte in any of it, and it is built again."""
KEPT = 12
"""Histories; the oldest go."""


def cache_dir() -> Path:
    """Where they are kept: ``TESTS_CACHE_DIR``, else the user's cache directory."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(os.environ.get("TESTS_CACHE_DIR") or Path(home) / "epochcost-tests")


def key(name: str) -> str:
    """A name for ``name`` as the working tree and the installed Prometheus would build it."""
    digest = hashlib.sha256(subprocess.run(["prometheus", "--version"], capture_output=True, check=True).stdout)
    for part in MADE_FROM:
        path = ROOT / part
        files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix in {".py", ".yml", ".csv"})
        for file in files:
            digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return f"{name}-{digest.hexdigest()[:24]}"


def kept(name: str, build: Callable[[Path], None], copy: Path) -> None:
    """A copy, at ``copy``, of the folder that ``build`` fills; built by whoever comes first, the others wait for it."""
    with _built(name, build) as folder:
        shutil.copytree(folder, copy, dirs_exist_ok=True)


def prepared(name: str, build: Callable[[Path], None]) -> None:
    """Build what `kept` will want, where nobody has yet."""
    with _built(name, build):
        pass


@contextmanager
def _built(name: str, build: Callable[[Path], None]) -> Iterator[Path]:
    """The folder that ``build`` has filled, locked meanwhile."""
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / key(name)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            fresh = cache / f"{folder.name}.{os.getpid()}"
            build(fresh)
            fresh.rename(folder)
            _forget_old(cache)
        os.utime(folder)
        yield folder


def _forget_old(cache: Path) -> None:
    by_age = sorted((f for f in cache.iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime, reverse=True)
    for old in by_age[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
