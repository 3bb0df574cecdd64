"""Seconds by key of a span that no longer changes, in a tenth of the memory: kept for 32 days, 24 or more a day."""

from __future__ import annotations

from array import array
from collections.abc import ItemsView, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K")


class PackedSeconds(Mapping[K, float], Generic[K]):
    """A mapping whose keys are shared with others of the same ones; keys without any seconds are left out.

    Attributes:
        keys_in_order: one object for all mappings with these keys.
        values_in_order: one for each key.
    """

    __slots__ = ("keys_in_order", "values_in_order")

    def __init__(self, keys: tuple[K, ...], values: Iterable[float]) -> None:
        self.keys_in_order = keys
        self.values_in_order = array("d", values)

    def __getitem__(self, key: K) -> float:
        try:
            return self.values_in_order[self.keys_in_order.index(key)]
        except ValueError:
            raise KeyError(key) from None

    def __iter__(self) -> Iterator[K]:
        return iter(self.keys_in_order)

    def __len__(self) -> int:
        return len(self.keys_in_order)

    def items(self) -> ItemsView[K, float]:
        """As of any mapping, without looking for each key."""
        return dict(zip(self.keys_in_order, self.values_in_order, strict=True)).items()


class Packing(Generic[K]):
    """Packs mappings, each set of keys kept once."""

    def __init__(self) -> None:
        self._known: dict[tuple[K, ...], tuple[K, ...]] = {}

    def packed(self, seconds: Mapping[K, float]) -> PackedSeconds[K]:
        """``seconds``, packed."""
        some = {key: value for key, value in seconds.items() if value}
        keys = tuple(some)
        return PackedSeconds(self._known.setdefault(keys, keys), some.values())

    def clear(self) -> None:
        """Forget the sets of keys."""
        self._known.clear()


class KeyTable(Generic[K]):
    """The sets of keys of packed mappings as a saved state has them: each once, and known by its number."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self.sets: list[tuple[K, ...]] = []

    def row(self, seconds: PackedSeconds[K]) -> list[Any]:
        """Number of the keys, and the values."""
        keys = seconds.keys_in_order
        number = self._numbers.setdefault(id(keys), len(self.sets))
        if number == len(self.sets):
            self.sets.append(keys)
        return [number, seconds.values_in_order.tolist()]
