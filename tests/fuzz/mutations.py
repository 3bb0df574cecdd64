"""Inputs made from good ones: bytes changed, cut, doubled, spliced, and replaced by values that often break parsers."""

from __future__ import annotations

import random
from collections.abc import Sequence

TOKENS: Sequence[bytes] = (
    b"", b"\x00", b"\xff\xfe", b"\r\n", b"\n", b"\r\n\r\n", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null",
    b"true", b"NaN", b"Infinity", b"-1", b"0", b"1e308", b"1e999", b"-1e308", b"9" * 30, b"9" * 5000, b"0x10", b"1_0",
    b"\xc3\x28", b"\\ud800", "\u202e".encode(), b"\x1b[2J", b"../", b"/", b"~", b"%", b"%00", b"=1+1", b"[" * 2000,
    b'{"a":' * 500, b"HTTP/1.1 200 OK\r\n", b"Content-Length: -5\r\n", b"Transfer-Encoding: chunked\r\n",
    b"ffffffffffffffff\r\n", b"x" * 70_000,
)  # fmt: skip


def mutated(seed: bytes, rng: random.Random) -> bytes:
    """``seed`` with one to four changes."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        at, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        how = rng.randrange(6)
        if how == 0 and data:
            data[rng.randrange(len(data))] = rng.randrange(256)
        elif how == 1:
            data[at:at] = rng.choice(TOKENS)
        elif how == 2:
            data[at : min(end, at + 8)] = rng.choice(TOKENS)
        elif how == 3:
            del data[at:end]
        elif how == 4:
            data[at:at] = data[at:end]
        else:
            data[at:at] = rng.randbytes(rng.randint(1, 12))
        del data[200_000:]
    return bytes(data)
