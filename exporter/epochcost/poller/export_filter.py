"""Which prices of all that are known are exported: those in use or watched, and no more than a bound."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase

from epochcost.model import InstanceFacts, Price, PriceKey
from epochcost.prices.adjust import Adjustments
from epochcost.prices.merged_prices import MergedPrices
from epochcost.prices.plausibility import WRITTEN
from epochcost.prices.price_source import Want, Zone

_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """One entry of the watch list; what is empty matches all.

    Attributes:
        provider, region, instance_type: globs without regard to case.
        gpu_model: a word of the model's name (``H100``, ``A100 80GB``), or a glob of all of it.
    """

    provider: str = ""
    region: str = ""
    instance_type: str = ""
    gpu_model: str = ""

    def matches(self, key: PriceKey, fact: InstanceFacts | None) -> bool:
        """Whether a price is watched; a type of which the GPU is not known matches no GPU model."""
        return (
            _like(self.provider, key.provider)
            and _like(self.region, key.region)
            and _like(self.instance_type, key.instance_type)
            and (not self.gpu_model or (fact is not None and names_gpu(self.gpu_model, fact.gpu_model)))
        )

    @property
    def want(self) -> Want | None:
        """What to request of a provider, if the entry names one machine type in one region."""
        exact = (self.provider, self.region, self.instance_type)
        return Want(*exact) if all(text and not _GLOB.search(text) for text in exact) else None


def _like(pattern: str, text: str) -> bool:
    return not pattern or fnmatchcase(text.lower(), pattern.lower())


def names_gpu(pattern: str, model: str) -> bool:
    """Whether ``model`` is, or names among its words, ``pattern``: ``A10`` is in "NVIDIA A10" and not in "A100"."""
    if _GLOB.search(pattern):
        return fnmatchcase(model.lower(), pattern.lower())
    return re.search(rf"(?<![a-z0-9]){re.escape(pattern.lower())}(?![a-z0-9])", model.lower()) is not None


def parse_watch(text: str) -> tuple[ExportFilter, ...]:
    """``gpu-model=H100 provider=aws, provider=vastai`` as two entries.

    Raises:
        ValueError: naming the entry and what is allowed.
    """
    return tuple(_entry(part.strip()) for part in text.split(",") if part.strip())


def _entry(text: str) -> ExportFilter:
    allowed = {field_.name.replace("_", "-"): field_.name for field_ in fields(ExportFilter)}
    parts = re.split(rf"\s*\b({'|'.join(allowed)})=", f" {text}")
    keys, values = parts[1::2], [value.strip() for value in parts[2::2]]
    if parts[0].strip() or not keys or not all(values) or len(set(keys)) < len(keys):
        raise ValueError(f"{text!r} is not of the form KEY=VALUE KEY=VALUE; keys: {', '.join(allowed)}")
    return ExportFilter(**{allowed[key]: value for key, value in zip(keys, values, strict=True)})


@dataclass(frozen=True, slots=True)
class Exported:
    """The exported part of the prices.

    Attributes:
        prices: by key.
        facts: of their machine types.
        zones: all that are known.
        unwatched: prices that are neither used nor watched.
        over_limit: prices left out because there would be too many.
        parts: components of the adjusted ones, by key.
    """

    prices: Mapping[PriceKey, Price] = field(default_factory=dict)
    facts: Mapping[tuple[str, str], InstanceFacts] = field(default_factory=dict)
    zones: frozenset[Zone] = frozenset()
    unwatched: int = 0
    over_limit: int = 0
    parts: Mapping[PriceKey, Mapping[str, float]] = field(default_factory=dict)


def select(merged: MergedPrices, watched: Iterable[ExportFilter], in_use: frozenset[Want], most: int) -> Exported:
    """What is in use (``in_use``) first, then what a person wrote down, then what is watched."""
    ranks = _Ranks(merged, tuple(watched), in_use)
    ranked: list[tuple[int, PriceKey]] = []
    for key, price in merged.prices.items():
        rank = ranks.of(key, price.source)
        if rank is not None:
            ranked.append((rank, key))
    over = max(0, len(ranked) - most)
    if over:
        ranked.sort(key=lambda pair: (pair[0], pair[1].provider, pair[1].instance_type, pair[1].region, pair[1].zone))
    keys = [key for _, key in ranked[:most]]
    types = {(key.provider, key.instance_type) for key in keys}
    return Exported(
        {key: merged.prices[key] for key in keys},
        {place: fact for place, fact in merged.facts.items() if place in types},
        frozenset().union(*(shelf.zones for shelf in merged.shelves.values())),
        unwatched=len(merged.prices) - len(ranked),
        over_limit=over,
    )


def parts_of(
    prices: Mapping[PriceKey, Price], merged: MergedPrices, adjustments: Adjustments, now: float
) -> dict[PriceKey, Mapping[str, float]]:
    """Of what those of ``prices`` are made that are adjusted, as far as more than one thing goes into them."""
    if not adjustments.entries:
        return {}
    published = {key: merged.published(price) for key, price in prices.items()}
    by_key = {key: adjustments.parts(price, now) for key, price in published.items() if price is not None}
    return {key: parts for key, parts in by_key.items() if len(parts) > 1}


class _Ranks:
    """Remembers what each machine type came to, because a catalogue has each in dozens of zones."""

    def __init__(self, merged: MergedPrices, watched: tuple[ExportFilter, ...], in_use: frozenset[Want]) -> None:
        self._merged = merged
        self._watched = watched
        self._in_use = in_use
        self._types = {(want.provider, want.instance_type) for want in in_use}
        self._seen: dict[tuple[str, str, str], int | None] = {}

    def of(self, key: PriceKey, source: str) -> int | None:
        """0 in use, 1 written down, 2 watched; None for neither."""
        place = (key.provider, key.region, key.instance_type)
        if place not in self._seen:
            self._seen[place] = self._rank(key)
        rank = self._seen[place]
        return 1 if source in WRITTEN and rank != 0 else rank

    def _rank(self, key: PriceKey) -> int | None:
        # One price everywhere, or one in all of a region, is in use wherever a machine of the type is.
        if Want(key.provider, key.region, key.instance_type) in self._in_use:
            return 0
        if not key.region and (key.provider, key.instance_type) in self._types:
            return 0
        fact = self._merged.facts.get((key.provider, key.instance_type))
        return 2 if any(watch.matches(key, fact) for watch in self._watched) else None
