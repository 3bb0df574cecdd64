"""Where events go: one search, so that a training process and the agent of the same user find the same place."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from epochcost.training.host import user

SYSTEM = Path("/var/run/epochcost")


def candidates(environ: Mapping[str, str], system: Path = SYSTEM) -> tuple[Path, ...]:
    """The directories to try, best first; a set ``EPOCHCOST_DIR`` is the only one. Touches nothing."""
    if configured := environ.get("EPOCHCOST_DIR", ""):
        return (Path(configured),)
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    return (system, *([Path(runtime) / "epochcost"] if runtime else []), _temporary(environ))


def events_dir(environ: Mapping[str, str], system: Path = SYSTEM) -> Path:
    """The first usable candidate, made if need be.

    ``EPOCHCOST_DIR`` is made with its parents; ``system`` is used only where it already is and is writable; the others
    are made for this user alone (mode 0700), and refused when they belong to another user or are symbolic links.

    Raises:
        OSError: with the reason of each candidate why it cannot be used.
    """
    is_configured = bool(environ.get("EPOCHCOST_DIR"))
    reasons: list[str] = []
    for path in candidates(environ, system):
        reason = _refusal(path, create=is_configured, private=path != system)
        if not reason:
            return path
        reasons.append(reason)
    raise OSError("; ".join(reasons))


def claims_dir(environ: Mapping[str, str]) -> Path:
    """Where processes that report over the network find which ids are taken: no agent reads there.

    Raises:
        OSError: with the reason why there is none.
    """
    path = _temporary(environ)
    _make_private(path)
    _make_private(path / "claims")
    return path / "claims"


def network_url(environ: Mapping[str, str]) -> str:
    """The agent in ``EPOCHCOST_URL``, to which events go; empty where they go to files."""
    url = environ.get("EPOCHCOST_URL", "").strip()
    return url if url.startswith(("http://", "https://")) else ""


def disabled(environ: Mapping[str, str]) -> bool:
    """Whether ``EPOCHCOST_DISABLE`` is set and nothing is reported: then no directory is made or read."""
    return environ.get("EPOCHCOST_DISABLE", "").strip().lower() not in ("", "0", "false", "no")


def _temporary(environ: Mapping[str, str]) -> Path:
    # As module tempfile looks, which would cost 10 ms to import.
    root = next((environ[name] for name in ("TMPDIR", "TEMP", "TMP") if environ.get(name)), "/tmp")  # noqa: S108
    return Path(root) / f"epochcost-{user()}"


def _refusal(path: Path, *, create: bool, private: bool) -> str:
    try:
        _prepare(path, create=create, private=private)
    except OSError as err:
        return str(err)
    return ""


def _prepare(path: Path, *, create: bool, private: bool) -> None:
    if create:
        path.mkdir(parents=True, exist_ok=True)
    elif private:
        _make_private(path)
    if not path.is_dir():
        raise NotADirectoryError(f"{path}: no such directory")
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(f"{path}: not writable")


def _make_private(path: Path) -> None:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(f"{path}: not a directory (symbolic links are not followed here)") from None
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
            raise PermissionError(f"{path}: belongs to another user, or can be changed by others") from None
