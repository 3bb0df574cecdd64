"""This machine and this user, on systems that know no ``uname`` or no numeric users too."""

from __future__ import annotations

import os
import re


def node_name() -> str:
    """The machine's own name; empty if the system does not report it."""
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


def name_in_files() -> str:
    """`node_name`, fit for a file name."""
    return re.sub(r"[^A-Za-z0-9.-]", "_", node_name())[:60] or "host"


def user_number() -> int | None:
    """The number of the user as whom this process acts; None on a system whose users have none."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def user() -> str:
    """The user of this process: the number, if users have one."""
    if hasattr(os, "getuid"):
        return str(os.getuid())
    return re.sub(r"[^A-Za-z0-9.-]", "_", os.environ.get("USERNAME", ""))[:60] or "user"
