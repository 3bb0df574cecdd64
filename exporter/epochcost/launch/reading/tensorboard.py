"""TensorBoard's event files: records of protocol buffers, of which four fields are read. Pure.

A record is its length (8 bytes), a checksum of that (4), the data, a checksum (4). The checksums are not used: a record
that makes no sense is ignored.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from epochcost.launch.reading.progress import MAX_COUNT, Form, Progress, Trust, amount

MAX_RECORD_BYTES = 1 << 26
"""A longer record means that this is not an event file; images and graphs stay below."""
MAX_READ_BYTES = 1 << 20
"""A longer record is passed over: scalars are short."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_KIND = "tensorboard"
_STEP, _SUMMARY, _VALUE, _TAG, _SIMPLE = 2, 5, 1, 1, 2


class NotRecordsError(ValueError):
    """The bytes are not a sequence of records."""


@dataclass(frozen=True, slots=True)
class Records:
    """``data`` of each whole record, how many bytes they took, and how many more to pass over."""

    data: tuple[bytes, ...]
    consumed: int


def records(data: bytes) -> Records:
    """Cut ``data`` into records; an unfinished one is left.

    Raises:
        NotRecordsError: a length that no record has.
    """
    bodies: list[bytes] = []
    at = 0
    while len(data) - at >= 12:  # noqa: PLR2004 - length and its checksum
        (length,) = struct.unpack_from("<Q", data, at)
        if length > MAX_RECORD_BYTES:
            raise NotRecordsError(f"a record of {length} bytes")
        end = at + 16 + length
        if length > MAX_READ_BYTES:
            at = end  # may lie beyond what was read: the reader continues there
            continue
        if end > len(data):
            break
        bodies.append(data[at + 12 : end - 4])
        at = end
    return Records(tuple(bodies), at)


def progress_of(record: bytes) -> Progress | None:
    """What an event reports about the position of the training run.

    Hugging Face writes a scalar ``train/epoch`` (the position), Lightning ``epoch`` (a number from 0), Keras
    ``epoch_loss`` and the like, whose step is the number of the epoch just done, from 0. Any other scalar has a step.
    """
    try:
        fields = list(_fields(record))
    except ValueError:
        return None
    step = next((value for number, value in fields if number == _STEP and isinstance(value, int)), 0)
    tags = [tag for number, value in fields if number == _SUMMARY and isinstance(value, bytes) for tag in _tags(value)]
    return _of_tags(tags, step) if 0 <= step <= MAX_COUNT else None


def _of_tags(tags: list[tuple[str, float | None]], step: int) -> Progress | None:
    if not tags:
        return None
    for tag, value in tags:
        if tag == "train/epoch" and value is not None and (position := amount(repr(value))) is not None:
            return Progress("tensorboard", Form.POSITION, Trust.FILE, _KIND, position=round(position, 6), run_step=step)
        if tag == "epoch" and value is not None and value >= 0 and value.is_integer() and value <= MAX_COUNT:
            return Progress(
                "tensorboard", Form.WITHIN, Trust.FILE, f"{_KIND} epoch", number=int(value), first=0, run_step=step
            )
        if tag.startswith("epoch_"):
            return Progress("tensorboard", Form.END, Trust.FILE, f"{_KIND} epoch_", number=step, first=0)
    return Progress("tensorboard steps", Form.STEPS, Trust.FILE, f"{_KIND} steps", run_step=step)


def _tags(summary: bytes) -> Iterator[tuple[str, float | None]]:
    """Name and figure of each value of a summary; no figure where it is not a plain one."""
    try:
        values = [value for number, value in _fields(summary) if number == _VALUE and isinstance(value, bytes)]
        for value in values:
            parts = dict(_fields(value))
            tag, simple = parts.get(_TAG), parts.get(_SIMPLE)
            if isinstance(tag, bytes):
                yield tag.decode("utf-8", "replace"), simple if isinstance(simple, float) else None
    except ValueError:
        return


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """The fields of a message: whole numbers, 32-bit floats, bytes; 64-bit ones are passed over.

    Raises:
        ValueError: it is not a message.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif kind == _FIXED32:
            yield key >> 3, float(struct.unpack("<f", _part(data, at, 4))[0])
            at += 4
        elif kind == _FIXED64:
            _part(data, at, 8)
            at += 8
        elif kind == _BYTES:
            length, at = _varint(data, at)
            yield key >> 3, _part(data, at, length)
            at += length
        else:
            raise ValueError(f"wire type {kind}")


def _part(data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise ValueError("truncated")
    return data[at : at + length]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("truncated")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a number
            return value, at
    raise ValueError("a number of more than ten bytes")
