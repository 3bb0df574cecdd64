"""What was requested and is not in the response, in the same words for every source, with the nearest names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from epochcost.prices.price_source import Catalogue, Want

MOST_NEAREST = 3
LEAST_LIKENESS = 0.7
MOST_NAMES = 500
"""Compared with one name; a catalogue of more is compared with its first, in the order of the alphabet."""
MOST_COMPARED = 50
"""Names for which the nearest ones are searched; clients can request a thousand, and each takes some milliseconds."""
MOST_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A type in a region that was requested and has no price.

    Attributes:
        want: the requested type.
        reason: the source's own, empty if it has none.
        known: whether the provider has a type of that name, so that it is spelt right.
        nearest: similar names, if it has none.
    """

    want: Want
    reason: str = ""
    known: bool = False
    nearest: tuple[str, ...] = ()


def unpriced(catalogue: Catalogue) -> tuple[Unpriced, ...]:
    """What of `Catalogue.requested` has no price in the response."""
    places = {(price.key.provider, price.key.instance_type, price.key.region) for price in catalogue.prices}
    missing = [
        want
        for want in sorted(catalogue.requested)
        if (want.provider, want.instance_type, want.region) not in places
        and (want.provider, want.instance_type, "") not in places
    ]
    known = {name for name in catalogue.names if len(name) <= MOST_CHARACTERS and name.isprintable()}
    known |= {price.key.instance_type for price in catalogue.prices}
    strange = sorted({want.instance_type for want in missing} - catalogue.names)[:MOST_COMPARED]
    near = {name: nearest(name, known) for name in strange}
    return tuple(
        Unpriced(
            want,
            catalogue.reasons.get(want.instance_type, ""),
            want.instance_type in catalogue.names,
            near.get(want.instance_type, ()),
        )
        for want in missing
    )


def nearest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """The few of ``known`` that are most like ``name``, best first; without regard to case."""
    likeness = SequenceMatcher(b=name.lower(), autojunk=False)
    near: list[tuple[float, str]] = []
    for each in sorted(known)[:MOST_NAMES]:
        likeness.set_seq1(each.lower())
        if each == name or min(likeness.real_quick_ratio(), likeness.quick_ratio()) < LEAST_LIKENESS:
            continue
        if (ratio := likeness.ratio()) >= LEAST_LIKENESS:
            near.append((-ratio, each))
    return tuple(each for _, each in sorted(near)[:MOST_NEAREST])


def sentences(source: str, missing: Iterable[Unpriced], messages: Iterable[str] = ()) -> tuple[str, ...]:
    """One sentence a machine type, for people; none for a type that one of ``messages`` names already."""
    by_type: dict[str, list[Unpriced]] = {}
    for each in missing:
        by_type.setdefault(each.want.instance_type, []).append(each)
    already = tuple(messages)
    return tuple(
        " ".join(_parts(source, name, of_type))
        for name, of_type in by_type.items()
        if not any(name in sentence for sentence in already)
    )


def _parts(source: str, name: str, of_type: list[Unpriced]) -> Iterator[str]:
    regions = [each.want.region for each in of_type if each.want.region]
    where = f" in {', '.join(regions[:5])}{' and more' if len(regions) > 5 else ''}" if regions else ""  # noqa: PLR2004
    yield f"{source}: {name}: no price{where}:"
    if of_type[0].reason:
        yield of_type[0].reason
        return
    if of_type[0].known:
        yield "the name is known, but the response has no price of it; is it sold there?"
        return
    yield "it was requested but is not in the response; is the name right?"
    if of_type[0].nearest:
        yield f"Nearest: {', '.join(of_type[0].nearest)}"
