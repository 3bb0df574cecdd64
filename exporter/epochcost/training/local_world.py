"""An id that the ranks of one world on one machine share, although no launcher and no user gave them one.

Ranks that meet on the loopback are on one machine. The socket on which rank 0 listens there has a number that the
kernel gives to no other socket while it is open: each rank reads it, without a message to any other.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
from pathlib import Path

_TABLES = ("tcp", "tcp6")
_LISTENS = "0A"
_INODE = 5
"""Fields after the state."""
_MOST_BYTES = 8 * 1024 * 1024
"""Of a table: tens of thousands of connections."""
_ADDRESS = re.compile(r"(?:127(?:\.\d{1,3}){3}|localhost|\[::1\]|::1):(\d{1,5})")


def local_world_id(experiment: str, proc: Path = Path("/proc")) -> str:
    """The id of this world's run; empty if its ranks may be on several machines, or nothing is known."""
    match = _ADDRESS.fullmatch(_meeting())
    with contextlib.suppress(OSError, ValueError, IndexError):
        listener = match and _listener(int(match[1]), proc)
        if match and listener:
            boot = (proc / "sys/kernel/random/boot_id").read_text().strip()
            namespace = str((proc / "self/ns/net").readlink())
            facts = "\0".join((boot, namespace, match[1], listener))
            return f"{experiment or 'run'}-{hashlib.sha256(facts.encode()).hexdigest()[:8]}"
    return ""


def _meeting() -> str:
    """Where the ranks of the world that JAX or torch knows meet, as ``host:port``; empty if unknown."""
    with contextlib.suppress(Exception):
        jax = sys.modules.get("jax._src.distributed")
        address = jax and jax.global_state.coordinator_address
        if address:
            return str(address)
    with contextlib.suppress(Exception):
        torch = sys.modules.get("torch.distributed.distributed_c10d")
        if torch is not None and torch.is_initialized():
            store = torch._get_default_store()  # noqa: SLF001 - torch has no public way
            while hasattr(store, "underlying_store"):
                store = store.underlying_store
            return f"{store.host}:{store.port}"
    return ""


def _listener(port: int, proc: Path) -> str:
    """The numbers of the sockets that listen on ``port``, one or one for each protocol; empty if there are none."""
    inodes: set[str] = set()
    for table in _TABLES:
        with contextlib.suppress(FileNotFoundError), (proc / "net" / table).open("rb") as file:
            for line in file.read(_MOST_BYTES).decode("ascii", "replace").splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == _LISTENS and local.endswith(f":{port:04X}"):
                    inodes.add(rest[_INODE])
    return " ".join(sorted(inodes))
