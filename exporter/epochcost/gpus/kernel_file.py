"""The kernel's own files: read whole, once a second, so with as few steps as it takes."""

from __future__ import annotations

import os

MAX_BYTES = 1 << 20
"""Enough for thousands of CPUs; the kernel refuses reads of more than a few MiB of some files with ENOMEM."""
_CHUNK_BYTES = 1 << 16
_LONGEST_COUNT = 20


def text_of(path: str) -> str:
    """The text of ``path``, its first MiB at most.

    Raises:
        OSError: when it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while len(data) < MAX_BYTES and (chunk := os.read(fd, _CHUNK_BYTES)):
            data += chunk
    finally:
        os.close(fd)
    return data.decode("utf-8", "replace")


def are_counts(*texts: str) -> bool:
    """Whether each is a number as the kernel counts: some digits, 20 at most."""
    digits = "".join(texts)
    return digits.isascii() and digits.isdigit() and 0 < min(map(len, texts)) <= max(map(len, texts)) <= _LONGEST_COUNT
