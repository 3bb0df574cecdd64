"""Which part of its GPU a MIG slice is, by the names of its profile and of the GPU."""

from __future__ import annotations

import re

SLICES: tuple[tuple[str, int], ...] = (
    ("RTX PRO 6000", 4),
    ("RTX PRO 5000", 2),
    ("A30", 4),
    ("A100", 7),
    ("A800", 7),
    ("H100", 7),
    ("H800", 7),
    ("H200", 7),
    ("H20", 7),
    ("GH200", 7),
    ("B200", 7),
    ("B300", 7),
    ("GB200", 7),
    ("GB300", 7),
)
"""Compute slices of a GPU in MIG mode, by a word of its name, as NVIDIA's MIG user guide has them (2026-11)."""
MEMORY_SLICES_OF_SEVEN = 8
_TOLERANCE = 0.15
_PROFILE = re.compile(r"(?:MIG )?(?:\d+c\.)?(\d+)g\.")


def slices_of(model: str) -> int | None:
    """How many compute slices a GPU of this name has; None for one that is not known."""
    for word, slices in SLICES:
        if re.search(rf"(?<![A-Z0-9]){word}(?![0-9])", model):
            return slices
    return None


def slice_ratio(model: str, profile: str, memory_bytes: float | None = None) -> float | None:
    """The part of its GPU that a slice is; None if neither its profile nor its memory determines it.

    Args:
        model: name of the GPU.
        profile: of the GPU instance, ``3g.40gb``; of a compute instance in one, ``1c.3g.40gb``, the instance counts.
        memory_bytes: of the slice, used if the profile has an unknown form.
    """
    whole = slices_of(model)
    if whole is None:
        return None
    match = _PROFILE.match(profile)
    size = int(match[1]) if match else _size_by_memory(model, whole, memory_bytes)
    return size / whole if size is not None and 0 < size <= whole else None


def _size_by_memory(model: str, whole: int, memory_bytes: float | None) -> int | None:
    """The size of a slice with this much memory, if only one size has it: on a GPU of seven, the least and the whole.

    How much the GPU has is a part of its name.
    """
    match = re.search(r"(\d+) ?GB", model)
    if not match or not memory_bytes:
        return None
    pieces = MEMORY_SLICES_OF_SEVEN if whole == 7 else whole  # noqa: PLR2004 - as the tables of profiles have it
    exact = memory_bytes / (int(match[1]) * 1e9) * pieces
    parts = round(exact)
    if not parts or abs(exact - parts) > _TOLERANCE * parts:
        return None
    if whole != 7:  # noqa: PLR2004
        return parts
    return {1: 1, MEMORY_SLICES_OF_SEVEN: 7}.get(parts)
