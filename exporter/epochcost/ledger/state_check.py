"""Whether a ledger that was restored from a file can be true. A file may be valid JSON and damaged or doctored.

Everything is checked before any of it is used: a cursor in the future would stop the node's dollars, a
negative figure would make a counter fall, a string in place of a price would fail every second from then on.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Union

from epochcost.ledger.devices import DeviceTotals
from epochcost.ledger.ledger import Ledger
from epochcost.ledger.node_ledger import Interval, NodeLedger
from epochcost.ledger.price import EARLIEST, PriceTrack, Window
from epochcost.ledger.reported import MAX_NAMES
from epochcost.ledger.run import RunAccount
from epochcost.model import MAX_USD_PER_HOUR, is_number

TOLERANCE = 1e-6
"""Relative, and in seconds: sums of many parts are not exact."""
MOST_DEVICES = 4096.0
LONGEST_FREE = 63 * 86400.0
"""Free hours are known for the period that runs and the one after it, and a month is the longest."""


class ImpossibleStateError(ValueError):
    """A saved state cannot be true; the text names the place."""


def check_ledger(ledger: Ledger, latest: float) -> None:
    """Raise unless ``ledger`` can be true, given that nothing in it may lie after ``latest``.

    Raises:
        ImpossibleStateError: naming the first thing that cannot be.
    """
    for where, t in (("cursor", ledger.cursor), ("boot_until", ledger.boot_until), ("floor", ledger.floor)):
        _require(t is None or t == -math.inf or EARLIEST <= t <= latest, f"{where}: {t!r} is not a time until now")
    _require(ledger.cursor is None or ledger.floor <= ledger.cursor + TOLERANCE, "floor: lies after the cursor")
    _require(ledger.charged.floor == -math.inf or ledger.charged.floor <= latest, "price_floor: lies in the future")
    _check_layout(ledger._layout)  # noqa: SLF001 - of the same package
    _check_price(ledger.charged.paid)
    _check_free(ledger.charged.free, latest)
    usd = ledger.charged.free_usd_per_hour
    _require(is_number(usd) and 0 <= usd <= MAX_USD_PER_HOUR, f"free_usd_per_hour: {usd!r} is not a price")
    _check_node_ledger(ledger.node_ledger, ledger.cursor)
    _check_spans(ledger.useful_cut.spans, "useful_cut", ledger.cursor, whole=False)
    _check_folded(ledger.useful_cut)
    _check_spans(ledger.unsettled._blocks, "unsettled", ledger.cursor)  # noqa: SLF001 - of the same package
    _require(is_number(ledger.unsettled.until) and 0 <= ledger.unsettled.until <= latest, "unsettled: in the future")
    for uuid, totals in ledger.devices.devices.items():
        _check_device(totals, f"devices: {uuid}")
    for run, account in ledger.runs.items():
        check_run(account, f"runs: {run}", latest)


def _check_layout(layout: Sequence[tuple[str, str, float]]) -> None:
    weights = [weight for *_, weight in layout]
    good = all(0 <= weight <= MOST_DEVICES for weight in weights) and 0 < sum(weights) <= MOST_DEVICES
    _require(good, f"layout: weights {weights!r} are not those of a machine's devices")
    _require(len({uuid for uuid, *_ in layout}) == len(layout), "layout: a device occurs twice")


def _check_price(price: PriceTrack) -> None:
    _require(all(not math.isnan(t) for t in price.times) and ascending(price.times), "price: times do not ascend")
    for usd in price.usd_per_hour:
        _require(usd is None or (is_number(usd) and 0 < usd <= MAX_USD_PER_HOUR), f"price: {usd!r} is not a price")


def _check_free(windows: Sequence[Window], latest: float) -> None:
    good = all(is_number(t) for window in windows for t in window)
    good = good and all(EARLIEST <= start < end <= latest + LONGEST_FREE for start, end in windows)
    good = good and all(before[1] <= after[0] for before, after in pairwise(windows))
    _require(good, f"free: {str(windows)[:120]} are not times that follow one another")


def _check_spans(spans: Sequence[Interval], where: str, cursor: float | None, *, whole: bool = True) -> None:
    """``whole``: the seconds of a span sum to its length; else to no more."""
    _require(not spans or cursor is not None, f"{where}: has spans, and nothing is accounted")
    for before, after in pairwise(spans):
        _require(before.end <= after.start, f"{where}: spans overlap at {after.start!r}")
    for span in spans:
        length = span.end - span.start
        _require(EARLIEST <= span.start < span.end <= (cursor or 0.0) + TOLERANCE, f"{where}: from {span.start!r}")
        _check_amounts(span.seconds.values(), f"{where}: span {span.start!r}")
        total = math.fsum(span.seconds.values())
        sums = math.isclose(total, length, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        _require(sums or (not whole and total < length), f"{where}: {span.start!r}: no sum")


def _check_node_ledger(node_ledger: NodeLedger, cursor: float | None) -> None:
    _check_spans(node_ledger.spans, "book", cursor)
    _check_folded(node_ledger)


def _check_folded(node_ledger: NodeLedger) -> None:
    folded = node_ledger._folded  # noqa: SLF001 - of the same package
    _check_amounts((*folded.seconds.values(), *folded.cost_usd.values(), folded.unpriced_seconds), "book: folded")
    most = math.fsum(folded.seconds.values()) / 3600 * MAX_USD_PER_HOUR
    _require(math.fsum(folded.cost_usd.values()) <= most + TOLERANCE, "book: folded: no machine costs as much")


def _check_device(totals: DeviceTotals, where: str) -> None:
    check_types(totals, where)
    _check_amounts(totals.seconds.values(), where)
    seconds = math.fsum(totals.seconds.values())
    for integral in (totals.utilization_seconds, totals.held_idle_seconds):
        good = integral is None or 0 <= integral <= seconds * (1 + TOLERANCE) + TOLERANCE
        _require(good, f"{where}: {integral!r} of {seconds!r} seconds")
    _check_amounts([totals.memory_used_byte_seconds or 0.0], where)


def check_run(account: RunAccount, where: str, latest: float) -> None:
    """As `check_ledger`, of one run."""
    reported = account.reported
    for part in (
        account.facts,
        account.epochs,
        account.counted,
        account.share,
        account.settled,
        account.energy,
        reported,
    ):
        check_types(part, where)
    _require(len(reported.values) <= MAX_NAMES, f"{where}: reports {len(reported.values)} values")
    _require(all(name and name.isprintable() for name in reported.values), f"{where}: reports a value without a name")
    for member in account.members.values():
        check_types(member, where)
        ends = member.start if member.end is None else member.end
        _require(EARLIEST <= member.start <= ends <= latest, f"{where}: a process from {member.start!r} to {ends!r}")
    _require(account.part != "", f"{where}: has no part")
    _require(account.user is None or type(account.user) is int, f"{where}: {account.user!r} is not a user's number")
    _require(account.leader is None or isinstance(account.leader, str), f"{where}: leader {account.leader!r}")
    for t in (account.started_t, account.last_event_t):
        _require(t is None or (is_number(t) and 0 <= t <= latest), f"{where}: {t!r} is not a time until now")
    _check_amounts(account.phase_seconds.values(), where)
    share = account.share
    _require(len(share.times) == len(share.shares) and ascending(share.times), f"{where}: share: times do not ascend")
    _require(all(0 <= part <= 1 + TOLERANCE for part in share.shares), f"{where}: share: not between 0 and 1")
    _require(all(t <= latest for t in share.times), f"{where}: share: begins in the future")
    _check_progress(account, where, latest)


def _check_progress(account: RunAccount, where: str, latest: float) -> None:
    epochs, settled = account.epochs, account.settled
    for earlier, later in pairwise(epochs.finished):
        _require(earlier.end <= later.end + TOLERANCE, f"{where}: epochs do not follow one another")
    for epoch in epochs.finished:
        check_types(epoch, where)
        good = epoch.count >= 1 and epoch.number >= 0 and EARLIEST <= epoch.start <= epoch.end <= latest
        _require(good, f"{where}: epoch {epoch.number!r} from {epoch.start!r} to {epoch.end!r}")
    records: list[Any] = [account.facts, epochs, account.counted, settled, account.energy]
    before = account.before_reports
    if before is not None:
        check_types(before, where)
        records += [dataclasses.replace(account.facts, **before.facts), before.restored_epochs(epochs)]
        for record in records[-2:]:
            check_types(record, where)
    for record in records:
        _check_not_negative(record, where)
    for amount in (epochs.steps, epochs.samples, epochs.tokens):
        check_types(amount, where)
        _check_amounts([amount.executed], where)
    _require(settled.until <= latest, f"{where}: settled in the future")
    if account.finished is not None:
        check_types(account.finished, where)
        good = account.finished.position >= 0 and EARLIEST <= account.finished.t <= latest
        _require(good, f"{where}: when it finished")
    begun = (account.counted.attempt_t, epochs.begin_t, epochs.started_t)
    for t in (*begun, epochs.moved_t, epochs.whole_t, epochs.busy_since):
        _require(t is None or t <= latest, f"{where}: {t!r} lies in the future")


def _check_not_negative(record: Any, where: str) -> None:  # noqa: ANN401 - any dataclass
    """Of a dataclass each number, and each in a mapping that it has."""
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        for part in value.values() if isinstance(value, dict) else (value,):
            _require(not is_number(part) or part >= 0, f"{where}: {field.name} is {part!r}")


def _check_amounts(amounts: Iterable[object], where: str) -> None:
    for amount in amounts:
        _require(is_number(amount) and amount >= 0, f"{where}: {amount!r} is not an amount")


def _require(good: bool, otherwise: str) -> None:  # noqa: FBT001
    if not good:
        raise ImpossibleStateError(otherwise)


def ascending(times: Sequence[float]) -> bool:
    """Whether each is later than the one before."""
    return all(before < after for before, after in pairwise(times))


def check_types(record: Any, where: str) -> None:  # noqa: ANN401 - any dataclass
    """Raise unless each field of a dataclass matches its annotation, numbers finite.

    Raises:
        ImpossibleStateError: naming the field.
    """
    hints = typing.get_type_hints(type(record))
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if not fits(value, hints[field.name]):
            raise ImpossibleStateError(f"{where}: {field.name}: {str(value)[:80]!r} is not {hints[field.name]}")


def fits(value: Any, hint: Any) -> bool:  # noqa: ANN401 - whatever an annotation may be
    """Whether ``value`` matches a type: of classes, None, unions, lists, tuples, mappings and what they hold."""
    kind, parts = typing.get_origin(hint), typing.get_args(hint)
    if kind in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if hint is Any:
        return True
    if hint in (None, type(None)):
        return value is None
    if hint in (float, int):
        whole = isinstance(value, int) if hint is int else True
        return is_number(value) and whole
    if kind in (list, deque, tuple, dict):
        return isinstance(value, kind) and all(fits(item, part) for item, part in _items(value, kind, parts))
    return isinstance(value, hint if isinstance(hint, type) else getattr(hint, "__supertype__", object))


def _items(value: Any, kind: type, parts: tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401
    """What a container holds, each with its type."""
    if kind is dict:
        yield from ((key, parts[0]) for key in value)
        yield from ((item, parts[1]) for item in value.values())
    elif kind is tuple and parts[-1] is not Ellipsis:
        yield from zip(value, parts, strict=False)
    else:
        yield from ((item, parts[0]) for item in value)
