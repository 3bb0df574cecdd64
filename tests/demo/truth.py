"""The expected cost and progress of the played fleet: arithmetic over the script alone, without product code.

Times are seconds since the beginning of the simulation; money is US dollars.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from epochcost.demo.scenario import BLOCK_SECONDS, FOREVER, HOUR, Attempt, Machine, Offer, Script
from epochcost.model import PurchaseOption, State

STALL_SECONDS = 120.0
RECENT_BOOT_SECONDS = 1800.0
Piece = tuple[float, float]


def begins(machine: Machine) -> float:
    """The start of its accounted time: its boot if its agent started soon after."""
    recent = machine.agent_starts - machine.boots < RECENT_BOOT_SECONDS
    return machine.boots if recent else machine.agent_starts


def price_of(script: Script, machine: Machine, option: PurchaseOption | None = None) -> Offer | None:
    """The offer that the machine pays, or what it would cost with another purchase option."""
    purchase_option = option or machine.purchase_option
    for zone in (machine.zone, ""):
        for offer in script.offers:
            key = (offer.provider, offer.instance_type, offer.purchase_option)
            if key != (machine.kind.provider, machine.kind.instance_type, purchase_option):
                continue
            if offer.zone == zone and offer.region in (machine.region, ""):
                return offer
    return None


def dollars(offer: Offer, start: float, end: float) -> float:
    """The integral of an offer's price."""
    steps = offer.price.steps
    usd = 0.0
    for (since, price), (until, _) in zip(steps, [*steps[1:], (FOREVER, 0.0)], strict=True):
        usd += price * max(0.0, min(end, until) - max(start, since)) / HOUR
    return usd


def states(machine: Machine, until: float) -> Iterator[tuple[float, float, State]]:
    """The machine's lifetime in pieces; ``useful`` means "progressing", which the load splits."""
    t, has_ended = begins(machine), False
    if t < machine.agent_starts:
        yield t, machine.agent_starts, State.BOOT
        t = machine.agent_starts
    furthest: dict[str, float] = {}
    for attempt in machine.attempts:
        yield from _alone(machine, t, min(attempt.start, until), has_ended=has_ended)
        yield from _attempt(attempt, furthest.get(attempt.run, 0.0))
        furthest[attempt.run] = max(furthest.get(attempt.run, 0.0), attempt.position(attempt.end))
        t, has_ended = attempt.end, True
    yield from _alone(machine, t, until, has_ended=has_ended)


def _alone(machine: Machine, start: float, end: float, *, has_ended: bool) -> Iterator[tuple[float, float, State]]:
    t = start
    for stranger in () if has_ended else machine.strangers:
        begin, until = max(t, stranger.start), min(end, stranger.end)
        if t < begin < until:
            yield t, begin, State.VACANT
        if begin < until:
            yield begin, until, State.UNATTRIBUTED if stranger.load else State.VACANT
            t = until
    if t < end:
        yield t, end, State.FINISHED if has_ended else State.VACANT


def _attempt(a: Attempt, furthest: float) -> Iterator[tuple[float, float, State]]:
    yield a.start, a.first_step, State.STARTUP
    caught_up = a.reaches(furthest) if a.from_epoch < furthest else a.first_step
    if caught_up > a.first_step:
        yield a.first_step, min(caught_up, a.end), State.REPLAY
    stalls = a.hangs_at + STALL_SECONDS
    yield min(caught_up, a.end), min(stalls, a.end), State.USEFUL
    if stalls < a.end:
        yield stalls, a.end, State.STALLED


def unseen(machine: Machine, device: int) -> list[Piece]:
    """Times without readings of a device: a failed driver, or a suspended agent (from its last reading on)."""
    asleep = [(start - 5.0, end) for start, end in machine.asleep]
    return [(start, end) for gpu, start, end in machine.unreadable if gpu == device] + asleep


def split(machine: Machine, device: int, start: float, end: float, state: State) -> dict[State, float]:
    """Seconds of one device from ``start`` to ``end`` by state, where the machine is in one ``state``."""
    if state is State.USEFUL:
        hidden = _overlap(unseen(machine, device), start, end)
        useful = busy_seconds(machine, device, start, end)
        return {State.USEFUL: useful, State.UNKNOWN: hidden, State.IDLE: end - start - useful - hidden}
    if state in (State.VACANT, State.UNATTRIBUTED):
        hidden = _overlap(unseen(machine, device), start, end)
        return {state: end - start - hidden, State.UNKNOWN: hidden}
    return {state: end - start}


def busy_seconds(machine: Machine, device: int, start: float, end: float) -> float:
    """Integral of the load of a device as far as it was seen."""
    edges = {start, end}
    edges |= {k * BLOCK_SECONDS for k in range(math.ceil(start / BLOCK_SECONDS), math.ceil(end / BLOCK_SECONDS))}
    edges |= {t for pair in unseen(machine, device) for t in pair if start < t < end}
    edges |= {t for a in machine.attempts for t in (a.start, a.first_step, a.end) if start < t < end}
    total = 0.0
    for a, b in itertools.pairwise(sorted(edges)):
        middle = (a + b) / 2
        if not any(u <= middle < v for u, v in unseen(machine, device)):
            total += machine.load(device, middle) * (b - a)
    return total


def _overlap(pieces: list[Piece], start: float, end: float) -> float:
    return sum(max(0.0, min(end, b) - max(start, a)) for a, b in pieces)


def state_seconds(machine: Machine, until: float, *, run: str = "", device: int | None = None) -> dict[State, float]:
    """Device-mean seconds by state (of one device where named), of the machine or of one run on it."""
    return {s: seconds for s, (seconds, _) in _totals(machine, until, None, run, device).items()}


def state_dollars(script: Script, machine: Machine, until: float, *, run: str = "") -> dict[State, float]:
    """Dollars by state, of the machine or of one run on it."""
    offer = price_of(script, machine)
    assert offer is not None
    return {s: usd for s, (_, usd) in _totals(machine, until, offer, run, None).items()}


def _totals(
    machine: Machine, until: float, offer: Offer | None, run: str, device: int | None
) -> dict[State, tuple[float, float]]:
    out = dict.fromkeys(State, (0.0, 0.0))
    devices = range(machine.devices()) if device is None else [device]
    until = min(until, machine.gone)
    for start, end, state in states(machine, until):
        for a, b in _pieces(offer, start, min(end, until)):
            attempt = machine.attempt_at((a + b) / 2)
            if run and (attempt is None or attempt.run != run):
                continue
            price = (offer.price.at((a + b) / 2) or 0.0) if offer is not None else 0.0
            for one in devices:
                for key, seconds in split(machine, one, a, b, state).items():
                    s, usd = out[key]
                    out[key] = s + seconds / len(devices), usd + seconds / len(devices) * price / HOUR
    return out


def _pieces(offer: Offer | None, start: float, end: float) -> Iterator[Piece]:
    """Pieces of a span in which the price is constant."""
    if end <= start:
        return
    changes = [t for t, _ in offer.price.steps if start < t < end] if offer is not None else []
    yield from itertools.pairwise([start, *changes, end])


def cost(script: Script, machine: Machine, until: float) -> float:
    """The bill of a machine."""
    offer = price_of(script, machine)
    assert offer is not None
    return dollars(offer, begins(machine), min(until, machine.gone))


def run_cost(script: Script, run: str, until: float) -> float:
    """All dollars of a run, on every machine, including ended ones."""
    total = 0.0
    for machine in script.machines:
        offer = price_of(script, machine)
        for a in machine.attempts:
            if a.run == run and offer is not None:
                total += dollars(offer, a.start, min(a.end, until, machine.gone))
    return total


def epoch_marks(machine: Machine, run: str, until: float) -> list[tuple[float, float]]:
    """(start, end) of every finished epoch of a run on a machine; without partial epochs."""
    marks: list[tuple[float, float]] = []
    for a in machine.attempts:
        if a.run != run:
            continue
        last = min(a.end, a.hangs_at, until, machine.gone)
        ends = [a.reaches(k) for k in range(math.floor(a.from_epoch) + 1, math.floor(a.position(last) + 1e-9) + 1)]
        begin = a.first_step
        for k, end in enumerate(ends):
            if k > 0 or a.from_epoch == int(a.from_epoch):
                marks.append((begin, end))
            begin = end
    return marks


def current_epoch_start(machine: Machine, run: str, until: float) -> float:
    """The start of the current epoch."""
    a = [a for a in machine.attempts if a.run == run and a.start <= until][-1]
    last = min(a.end, a.hangs_at, until)
    furthest = math.floor(a.position(last) + 1e-9)
    return a.reaches(furthest) if furthest > a.from_epoch else a.first_step
