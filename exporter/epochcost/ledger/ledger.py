"""The ledger itself: time passes, events happen, prices come to be known; seconds and dollars are read from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from epochcost.ledger.alike import Alike
from epochcost.ledger.attribution import split_between_runs, state_without_run, watts, works
from epochcost.ledger.charged_price import ChargedPrice, finite, infinite
from epochcost.ledger.devices import Device, DeviceLedger
from epochcost.ledger.layout import ALL, NO_GPU, with_held
from epochcost.ledger.ledger_settings import LedgerSettings
from epochcost.ledger.node_ledger import Key, NodeLedger
from epochcost.ledger.old_runs import first_to_forget
from epochcost.ledger.parts import base36
from epochcost.ledger.price import PriceTrack, Window
from epochcost.ledger.run import RunAccount
from epochcost.ledger.shares import Claims, Placed, claims
from epochcost.ledger.state_of_before import upgraded
from epochcost.ledger.unsettled import Unsettled
from epochcost.ledger.useful_cut import ACTIVE, REST, parts_of
from epochcost.model import EndStatus, EventKind, PriceStep, RunId, State, TrainingEvent

FINISH_ROUNDING_SECONDS = 1.0
"""When a training run finished is reported in milliseconds, and is the same instant."""
MAX_OPEN_RUNS = 300
"""More than the reader of events lets all users have open together (see ``UserQuotas``): the last resort."""
MAX_RUNS = 400
STATE_VERSION = 2


class Ledger:
    """Partition of device-seconds by state, dollars over a step-function price, and the accounts of runs."""

    def __init__(self, settings: LedgerSettings | None = None) -> None:
        self.settings = settings or LedgerSettings()
        self.price = PriceTrack()
        """The track of `charged`."""
        self.charged = ChargedPrice()
        self.node_ledger = NodeLedger()
        self.useful_cut = NodeLedger()
        """The parts of the node's useful time that are known, see `epochcost.ledger.useful_cut`."""
        self.unsettled = Unsettled(0.0)
        self.devices = DeviceLedger()
        self.runs: dict[RunId, RunAccount] = {}
        self.cursor: float | None = None
        """Everything before this instant is accounted."""
        self.boot_until = -math.inf
        """Until this instant the machine was up and the agent was not: time without a run is ``boot``."""
        self.floor = -math.inf
        """The machine's boot: nothing before it is charged."""
        self._layout: tuple[Placed, ...] = ((ALL.uuid, ALL.index, ALL.weight),)
        self._claims: Claims | None = None
        self._stale_from: float | None = None
        """In `many_events`: the instant from which the shares are to be computed again; else None."""
        self._alike: Alike | None = None
        """In `many_events`: the newest span, which is not entered yet."""
        self._whole: Sequence[Device] | None = None
        """The newest devices, where they are all of the layout."""

    # -- time --------------------------------------------------------------------------------------------------------

    def begin(self, start: float, seen_from: float, boot: float) -> None:
        """Open the ledger in a boot of the machine.

        Args:
            start: the instant from which its time is accounted; never one that is accounted already, as a container's
                would be, whose boot is its own and whose boot time the host's.
            seen_from: the instant of the agent's first start; time before it without a run is ``boot``.
            boot: when the machine was booted; what runs did before is not charged.
        """
        before = start if self.cursor is None else self.cursor
        start = max(start, before)
        for account in self.runs.values():
            account.close(before)
        self._reshare(before)
        self.cursor, self.boot_until, self.floor = start, seen_from, boot

    def advance(self, to: float, devices: Sequence[Device], *, observed: bool = True) -> None:
        """Account the time up to ``to``, in which the devices did what ``devices`` contain.

        ``observed`` False means that nothing was read: states that need a reading become ``unknown``.
        """
        if self.cursor is None or to <= self.cursor:
            return
        devices = self._see(devices)
        if not observed or not sum(d.weight for d in devices):
            devices = [Device(uuid, index, weight=weight) for uuid, index, weight in self._layout]
        for end in sorted({to, *self._cuts(self.cursor, to)}):
            self._account(self.cursor, end, devices)
            self.cursor = end

    def _cuts(self, start: float, end: float) -> Iterable[float]:
        """Instants inside a span at which something changes by itself: the price, a stall, the end of booting."""
        yield from self.price.changes(start, end)
        if start < self.boot_until < end:
            yield self.boot_until
        stall_after = self.settings.stall_after
        for account in self.runs.values():
            if account.is_open and account.epochs.moved_t + stall_after < end:
                t = account.epochs.stalls_at(stall_after)
                if start < t < end:
                    yield t

    def _see(self, devices: Sequence[Device]) -> Sequence[Device]:
        """Take ``devices`` for the node's, with those that have vanished and that runs still hold."""
        if devices is self._whole or not sum(d.weight for d in devices):
            return devices
        reported, present = devices, {device.uuid for device in devices}
        if any(uuid not in present for uuid, _, _ in self._layout):
            devices = with_held(devices, self._layout, self._held_by_name())
        layout = tuple((d.uuid, d.index, d.weight) for d in devices)
        if layout != self._layout:
            self._layout = layout
            self._hold()
            if self.cursor is not None:
                self._reshare(self.cursor)
        self._whole = reported if devices is reported else None
        return devices

    def _held_by_name(self) -> set[str]:
        """UUIDs of the devices that open runs have named."""
        members = (member for account in self.open_runs() for member in account.members.values() if member.end is None)
        return {uuid for member in members for uuid in member.held or ()}

    def _hold(self) -> None:
        if self._layout[0][0] not in NO_GPU:
            for account in self.open_runs():
                account.members.hold(self._layout)

    def _account(self, start: float, end: float, devices: Sequence[Device]) -> None:
        """Account a span: at once, or in `many_events` with what is alike."""
        current = self._current_claims()
        states = {run: self._run_state(run, start) for run in current.gpus()}
        phases = {run: self.runs[run].epochs.phase for run in states}
        span = Alike(start, end, devices, current, states, phases, start < self.boot_until)
        before = self._alike
        if before is not None and before.goes_on(span) and not self.price.changes(before.start, end):
            before.end = end
            return
        self._enter()
        self._alike = span
        if self._stale_from is None or not span.may_wait:
            self._enter()

    def _enter(self) -> None:
        """Enter the span that was held back."""
        span, self._alike = self._alike, None
        if span is None:
            return
        start, end, devices, current, states = span.start, span.end, span.devices, span.claims, span.states
        shares: dict[Key, float] = {}
        cut: dict[Key, float] = {}
        whole = sum(current.weights)
        for device, runs in zip(devices, current.by_device, strict=True):
            if not device.weight:
                continue
            if runs:
                split = split_between_runs(device, runs, span)
            else:
                split = self._without_run(device, current.shares(), start)
            for key, share in parts_of(device, split).items():
                cut[key] = cut.get(key, 0.0) + share * device.weight / whole
            for key, share in split.items():
                shares[key] = shares.get(key, 0.0) + share * device.weight / whole
            by_state: dict[State, float] = {}
            for (_, state), share in split.items():
                by_state[state] = by_state.get(state, 0.0) + share
            self.devices.add(device, end - start, by_state)
        self.node_ledger.add(start, end, shares, self.price)
        if cut or self.useful_cut:  # from then on without gaps, so that its spans join as the node's do
            nothing: dict[Key, float] = {(run, part): 0.0 for run in states for part in (ACTIVE, REST)}
            self.useful_cut.add(start, end, {**nothing, **cut}, self.price)
        self.unsettled.add(start, end, shares)
        self._follow_runs(span)

    def _follow_runs(self, span: Alike) -> None:
        """What the span adds to the accounts of the open runs: phases, energy, and whether they are at work."""
        start, end, devices = span.start, span.end, span.devices
        for run, state in span.states.items():
            account = self.runs[run]
            if state is State.STARTUP:
                account.epochs.work(start, end, busy=works(run, devices, span.claims))
            phase = span.phases[run]
            account.phase_seconds[phase] = account.phase_seconds.get(phase, 0.0) + (end - start)
            account.energy.add(end - start, watts(run, devices, span.claims))

    def _run_state(self, run: RunId, t: float) -> State:
        return self.runs[run].epochs.state_at(t, self.settings.stall_after)

    def _without_run(self, device: Device, payers: Mapping[RunId, float], t: float) -> dict[Key, float]:
        """Where the time of a device goes that no run uses."""
        if payers and self.settings.whole_node:
            return {(run, State.UNALLOCATED): share for run, share in payers.items()}
        ended = any(a.ended_t is not None and a.ended_t > self.floor for a in self.runs.values())
        booting, busy_ratio = t < self.boot_until, self.settings.busy_ratio
        state = state_without_run(device, busy_ratio, booting=booting, runs_elsewhere=bool(payers), after_run=ended)
        return {(None, state): 1.0}

    # -- events ------------------------------------------------------------------------------------------------------

    def apply(self, event: TrainingEvent) -> str:
        """Follow one event, which should not lie after the cursor; returns what became of it, for a counter."""
        account = self.runs.get(event.run)
        if account is None or not account.only_moves(event):
            self._enter()  # the time before the event must be entered before it changes anything
        if account is None:
            if event.kind in (EventKind.GONE, EventKind.END, EventKind.RETRACT):
                return "ignored"
            if len(self.open_runs()) >= MAX_OPEN_RUNS:
                return "too_many_runs"
            self._forget_old_runs()
            account = self.runs[event.run] = RunAccount(event.run, self._new_part(event.t))
            account.user = event.user
        changed = account.take(event, self.floor)
        if changed is not None:
            self._hold()
            self._reshare(changed)
        return "accepted"

    def _new_part(self, t: float) -> str:
        """The second in which a run was first seen, short; of two in one second the later takes the next."""
        taken, second = {account.part for account in self.runs.values()}, int(t)
        while (part := base36(second)) in taken:
            second += 1
        return part

    def silence(self, now: float, longer_than: float, watched: Iterable[str]) -> None:
        """End processes that have sent nothing for too long and that cannot be monitored.

        Args:
            now: the present instant.
            longer_than: seconds of silence.
            watched: writers that the reader itself sees to be alive.
        """
        seen = set(watched)
        for account in self.open_runs():
            for writer, member in list(account.members.items()):
                if member.end is None and writer not in seen and now - member.last_t > longer_than:
                    gone = TrainingEvent(EventKind.GONE, member.last_t, account.run, writer, status=EndStatus.LOST)
                    self.apply(gone)

    def reached_elsewhere(self, run: RunId, part: str, position: float, finished_ts: float | None = None) -> None:
        """The run had come to ``position`` on other machines: what this ``part`` does below it is done again.

        ``finished_ts`` is when a training run of it last finished, as known to the reporting machine: one that does not
        know yet that it finished here means the training run before.
        """
        account = self.runs.get(run)
        if account is None or account.part != part:
            return
        known = account.finished is None or (finished_ts or 0.0) > account.finished.t - FINISH_ROUNDING_SECONDS
        account.epochs.elsewhere = position if known else 0.0

    def open_runs(self) -> list[RunAccount]:
        """The runs with a process running, in order of appearance."""
        return [account for account in self.runs.values() if account.is_open]

    def held(self, run: RunId) -> float:
        """GPUs that ``run`` uses now; one with two runs is half of each, a slice its part. 0 on a node without GPUs."""
        return 0.0 if self._layout[0][0] in NO_GPU else self._current_claims().gpus().get(run, 0.0)

    def runs_on(self) -> dict[str, tuple[RunId, ...]]:
        """The open runs on each device now, by its uuid; nothing on a node without GPUs."""
        if self._layout[0][0] in NO_GPU:
            return {}
        return {uuid: runs for (uuid, *_), runs in zip(self._layout, self._current_claims().by_device, strict=True)}

    def _current_claims(self) -> Claims:
        if self._claims is None:
            open_runs = {a.run: a.members.gpus_at(math.inf) for a in self.open_runs()}
            self._claims = self._claims_of(open_runs)
        return self._claims

    def _claims_of(self, open_runs: Mapping[RunId, frozenset[str] | None]) -> Claims:
        users = {run: self.runs[run].user for run in open_runs}
        return claims(open_runs, self._layout, whole_node=self.settings.whole_node, users=users)

    @contextmanager
    def many_events(self) -> Iterator[None]:
        """Within the block neither shares nor accounts are kept up to date, however many events there are: at its end.

        Otherwise a thousand processes that came and went long ago would each cause everything to be recomputed.
        """
        self._stale_from = math.inf
        try:
            yield
        finally:
            self._enter()
            stale, self._stale_from = self._stale_from, None
            if stale < math.inf:
                self._reshare(stale)

    def _reshare(self, start: float) -> None:
        """Compute every run's share again from ``start`` on, over all known beginnings and ends."""
        self._claims = None
        if self._stale_from is not None:
            self._stale_from = min(self._stale_from, start)
            return
        accounts = [a for a in self.runs.values() if a.is_open or (a.ended_t or 0.0) >= start or a.share.at(start)]
        instants = sorted({start}.union(*(a.members.changes_after(start) for a in accounts)))
        steps: dict[RunId, list[tuple[float, float]]] = {a.run: [] for a in accounts}
        for t in instants:
            open_runs = {a.run: a.members.gpus_at(t) for a in accounts if a.members.open_at(t)}
            shares = self._claims_of(open_runs).shares()
            for a in accounts:
                steps[a.run].append((t, shares.get(a.run, 0.0)))
        for a in accounts:
            a.share.rewrite(start, steps[a.run])
            if self.cursor is not None and start < self.cursor:
                a.reprice()

    def _forget_old_runs(self) -> None:
        if len(self.runs) < MAX_RUNS:
            return
        closed = [account for account in self.runs.values() if not account.is_open]
        for account in first_to_forget(closed)[: MAX_RUNS // 4]:
            del self.runs[account.run]
        self.node_ledger.drop_run_names(self.runs)
        self.useful_cut.drop_run_names(self.runs)

    def settle(self, until: float) -> None:
        """Let what lies before ``until`` keep its dollars, so that the accounts of runs stay small."""
        for account in self.runs.values():
            account.settle(until, self.price)

    # -- price -------------------------------------------------------------------------------------------------------

    def set_price(self, steps: Sequence[PriceStep], now: float) -> bool:
        """Take the report of a price source at ``now``; True when anything changed. The past is priced again by it."""
        self.charged.learn(steps, now)
        return self._charge()

    def set_free(self, windows: Iterable[Window], usd_per_hour: float = 0.0) -> bool:
        """Charge only ``usd_per_hour`` within ``windows`` (ascending, not overlapping); True when anything changed."""
        self.charged.set_free(windows, usd_per_hour)
        return self._charge()

    def forget_price(self, t: float) -> None:
        """From ``t`` on the machine is another one, and its price is not known until reported."""
        self.charged.forget_from(t)
        self._charge()

    def _charge(self) -> bool:
        track = self.charged.track()
        if track == self.price:
            return False
        self.price = track
        self.node_ledger.reprice()
        self.useful_cut.reprice()
        for account in self.runs.values():
            account.reprice()
        return True

    # -- persistence -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything as JSON-able data."""
        return {
            "version": STATE_VERSION,
            "cursor": self.cursor,
            "boot_until": finite(self.boot_until),
            "floor": finite(self.floor),
            **self.charged.state(),
            "layout": self._layout,
            "book": self.node_ledger.state(),
            "useful_cut": self.useful_cut.state(),
            "unsettled": self.unsettled.state(),
            "devices": self.devices.state(),
            "runs": {run: account.state() for run, account in self.runs.items()},
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any], settings: LedgerSettings | None = None) -> Ledger:
        """The ledger that `state` described.

        Raises:
            KeyError, TypeError, ValueError: when ``state`` is not what `state` makes.
        """
        if state["version"] == STATE_VERSION - 1:
            state = upgraded(state)
        if state["version"] != STATE_VERSION:
            raise ValueError(f"ledger state of version {state['version']!r}, expected {STATE_VERSION}")
        it = cls(settings)
        it.cursor = None if state["cursor"] is None else float(state["cursor"])
        it.boot_until, it.floor = infinite(state["boot_until"]), infinite(state["floor"])
        it.charged = ChargedPrice.restored(state)
        it.price = it.charged.track()
        it._layout = tuple((str(u), str(i), float(weight[0]) if weight else 1.0) for u, i, *weight in state["layout"])
        it.node_ledger = NodeLedger.restored(state["book"])
        if "useful_cut" in state:  # before it was kept nothing is known of it
            it.useful_cut = NodeLedger.restored(state["useful_cut"])
        it.unsettled = Unsettled.restored(state["unsettled"])
        it.devices = DeviceLedger.restored(state["devices"])
        it.runs = {RunId(run): RunAccount.restored(RunId(run), account) for run, account in state["runs"].items()}
        return it
