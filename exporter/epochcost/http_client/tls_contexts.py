"""Which certificates are trusted: made once for each file, for to read the system's takes 20 ms of a core."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from pathlib import Path


def client_tls(ca_file: str = "") -> ssl.SSLContext:
    """A context that verifies by ``ca_file``, empty for the system's authorities; rebuilt when the file changes.

    Raises:
        OSError: when ``ca_file`` cannot be read or holds no certificate.
    """
    return _context(ca_file, _stamp(ca_file or ssl.get_default_verify_paths().cafile or ""))


@lru_cache(maxsize=8)
def _context(ca_file: str, _: object) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file or None)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(Path(path)) if path else None  # noqa: PTH116 - its fields alone are needed
    except OSError:
        return None
    return None if status is None else (status.st_mtime_ns, status.st_size, status.st_ino)
