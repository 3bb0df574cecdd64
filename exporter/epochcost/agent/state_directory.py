"""Where the agent keeps what it remembers: where only it, or root, can write."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from zlib import crc32

from epochcost.agent.agent_state_file import NAME
from epochcost.untrusted_files import is_private, trusted_owners

log = logging.getLogger(__name__)
BESIDE = "state"
SYSTEM = Path("/var/lib/epochcost")


def agent_state_dir(configured: str, events: Path, environ: Mapping[str, str], system: Path = SYSTEM) -> Path:
    """The state directory: a configured one as it is; else ``state`` beside the events, where nobody else can meddle.

    The events directory may be open to every user. What another put there under that name is never used, nor does it
    keep the agent from starting: the state is then kept in the system's or the user's own state directory.
    """
    if configured:
        return Path(configured)
    beside, apart = events / BESIDE, _apart(events, environ, system)
    # Where an earlier start of this agent found the other place taken, it stays with its choice.
    if _names_stay(events) and not (apart / NAME).exists() and _made(beside):
        return beside
    log.info("the agent's state is kept in %s: other users can write beside the events", apart)
    return apart


def _made(directory: Path) -> bool:
    """Whether ``directory`` is there and is ours alone."""
    try:
        directory.mkdir(mode=0o700)
    except OSError as err:
        log.debug("%s: %s", directory, err.strerror)
    return is_private(directory)


def _names_stay(directory: Path) -> bool:
    """Whether no other user can rename or remove what this one makes in ``directory``."""
    try:
        found = directory.stat()
    except OSError:
        return False
    open_to_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return found.st_uid in trusted_owners() and (not open_to_others or bool(found.st_mode & stat.S_ISVTX))


def _apart(events: Path, environ: Mapping[str, str], system: Path) -> Path:
    """A directory of this agent's own, one for each events directory."""
    name = f"agent-{crc32(os.fsencode(events.absolute())):08x}"
    if given := environ.get("STATE_DIRECTORY", "").partition(":")[0]:  # systemd's StateDirectory=
        return Path(given) / name
    if os.geteuid() == 0:
        return system / name
    home = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME') or '/nonexistent'}/.local/state"
    return Path(home) / "epochcost" / name
