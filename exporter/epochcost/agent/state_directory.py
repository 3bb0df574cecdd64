"""Where the agent keeps its ledger: where the next boot of the machine finds it, if that can be."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from zlib import crc32

from epochcost.agent.agent_state_file import NAME, StateFile
from epochcost.training.directory import SYSTEM
from epochcost.untrusted_files import is_private, read_regular, replaced, trusted_owners

log = logging.getLogger(__name__)
MACHINE = Path("/var/lib/epochcost")
"""The ledger of an agent that serves every user of the machine."""
MAX_BYTES = 2**30
VOLATILE = {"tmpfs": "in memory", "ramfs": "in memory", "overlay": "a layer of this container"}
"""File systems that start empty: with the next boot, or the next container."""


def agent_state_dir(configured: str, events_dir: Path, environ: Mapping[str, str], machine: Path = MACHINE) -> Path:
    """The first of: the configured one, systemd's, the machine's, ``state`` beside the events. Touches nothing.

    The machine's own is taken by an agent that serves the whole machine, where it may write there and what it writes
    stays. What another user put beside the events is never used, nor does it keep the agent from starting: the state is
    then kept apart, in the machine's or the user's own state directory.
    """
    if configured:
        return Path(configured)
    if systemd := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(systemd)
    if _serves_the_machine(events_dir) and _ours(machine) and not volatile(machine):
        return machine
    # Where an earlier start of this agent found the place beside the events taken, it stays with its choice.
    apart = _apart(events_dir, environ, machine)
    if _names_stay(events_dir) and not (apart / NAME).exists() and _free_or_ours(beside(events_dir)):
        return beside(events_dir)
    log.info("keeping the agent's state in %s: other users can write next to the events", apart)
    return apart


def _free_or_ours(directory: Path) -> bool:
    return is_private(directory) or not os.path.lexists(directory)


def _names_stay(directory: Path) -> bool:
    """Whether no other user can rename or remove what this one makes in ``directory``."""
    try:
        status = directory.stat()
    except OSError:
        return True  # it will be made by this user, or nothing can be kept there at all
    open_to_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid in trusted_owners() and (not open_to_others or bool(status.st_mode & stat.S_ISVTX))


def _apart(events_dir: Path, environ: Mapping[str, str], machine: Path) -> Path:
    """A directory of this agent's own, one for each events directory."""
    name = f"agent-{crc32(os.fsencode(events_dir.absolute())):08x}"
    if os.geteuid() == 0:
        return machine / name
    home = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME') or '/nonexistent'}/.local/state"
    return Path(home) / "epochcost" / name


def beside(events_dir: Path) -> Path:
    """Where any user may create files: only a directory that the agent created itself is used."""
    return events_dir / "state"


def _serves_the_machine(events_dir: Path) -> bool:
    return os.path.realpath(events_dir) == os.path.realpath(SYSTEM)


def _ours(path: Path) -> bool:
    """Whether only this user can write to ``path``, or root, who alone can create it, may make it so."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return os.geteuid() == 0 and os.access(path.parent, os.W_OK | os.X_OK)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & stat.S_IWOTH


def adopt(earlier: Path, state_dir: Path) -> None:
    """Move the ledger that an agent of the previous version kept in ``earlier`` here, unless there is one already.

    Raises:
        StateError: when another agent is using it.
    """
    old, new = earlier / NAME, state_dir / NAME
    if earlier == state_dir or new.exists() or not old.exists() or not is_private(earlier):
        return
    held = StateFile(earlier)
    try:
        content = read_regular(old, MAX_BYTES, owners=trusted_owners())
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replaced(new, 0o600) as file:
            file.write(content)
        old.unlink()
        log.info("the ledger in %s was moved to %s", old, new)
    except OSError as err:
        log.warning("the ledger in %s cannot be moved to %s: %s", old, state_dir, err.strerror or err)
    finally:
        held.close()


def volatile(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Why what is written to ``path`` does not last, ``tmpfs, in memory``; empty if it does, or if that is unknown."""
    kind = file_system(path, mounts)
    return f"{kind}, {VOLATILE[kind]}" if kind in VOLATILE else ""


def file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """The kind of file system that ``path`` is on, or would be; empty if the kernel does not report it."""
    real = Path(os.path.realpath(path))
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    best, filesystem = -1, ""
    for line in lines:
        mounted, kind = _mount(line)
        # A later mount on the same place hides the earlier one.
        if mounted is not None and (real == mounted or mounted in real.parents) and len(mounted.parts) >= best:
            best, filesystem = len(mounted.parts), kind
    return filesystem


def _mount(line: str) -> tuple[Path | None, str]:
    r"""``36 35 98:0 /root /mounted\040on rw,noatime master:1 - ext3 /dev/root rw`` -> where and what."""
    fields, _, after = line.partition(" - ")
    parts, kinds = fields.split(" "), after.split(" ")
    if len(parts) < 6 or not kinds[0]:  # noqa: PLR2004 - see proc(5)
        return None, ""
    return Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), parts[4])), kinds[0]


def shut_to_others(events_dir: Path) -> str:
    """Why users of the machine cannot report to ``events_dir``; empty if they can, or are not meant to."""
    if not _serves_the_machine(events_dir):
        return ""
    try:
        status = events_dir.stat()
    except OSError as err:
        return str(err)
    mode = stat.S_IMODE(status.st_mode)
    everybody = mode & 0o003 == 0o003  # noqa: PLR2004 - write and enter
    a_group = mode & 0o030 == 0o030 and status.st_gid != 0  # noqa: PLR2004
    if everybody or a_group:
        return ""
    return f"other users cannot write to {events_dir} (mode {mode:04o}): chmod 1777 {events_dir}"
