"""Where the agent looks for events: where the training processes of this machine put them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from epochcost.training.directory import SYSTEM, events_dir

ANYBODY = 0o1777
"""Like ``/tmp``: every user's training may write its own file, and none may remove another's."""


def agent_events_dir(configured: str, environ: Mapping[str, str]) -> Path:
    """The events directory, made if need be.

    A configured one is taken as it is. Root's agent serves every user, so it makes the system-wide directory; any other
    user's agent looks where that user's training writes.

    Raises:
        OSError: with the reason why no directory can be used.
    """
    if configured or environ.get("EPOCHCOST_DIR"):
        name = "--events.dir" if configured else "EPOCHCOST_DIR"
        path = Path(configured or environ["EPOCHCOST_DIR"])
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as err:
            why = "not a directory" if isinstance(err, FileExistsError) else getattr(err, "strerror", None) or str(err)
            raise OSError(f"{name}={path}: {why[:1].lower()}{why[1:]}") from None
        return path
    if os.geteuid() == 0:
        if not SYSTEM.exists():
            SYSTEM.mkdir(parents=True)
            SYSTEM.chmod(ANYBODY)
        return SYSTEM
    return events_dir(environ)
