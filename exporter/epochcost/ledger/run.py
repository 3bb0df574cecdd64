"""One run's account: its processes on this node, its share of the node, its epochs and its exact dollars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from epochcost.ledger.epochs import Epochs
from epochcost.ledger.finished_epoch import Epoch
from epochcost.ledger.price import PriceTrack
from epochcost.ledger.rank_zero import CountedHere, holds_rank_zero
from epochcost.ledger.reported import ReportedValues
from epochcost.ledger.reported_position import reports_position
from epochcost.ledger.retraction import FACTS, BeforeReports
from epochcost.ledger.run_facts import Facts
from epochcost.ledger.run_members import Member, Members, rank_of
from epochcost.ledger.run_sums import Energy, Settled
from epochcost.ledger.shares import ShareTrack
from epochcost.model import EndStatus, EventKind, Phase, RunId, TrainingEvent

MAX_EPOCHS_KEPT = 5000
MAX_SHARE_STEPS = 5000


@dataclass(frozen=True, slots=True)
class Finished:
    """The newest training under this id that finished while rank 0 was here: how far it had come, and when it ended.

    Whatever begins later under this id, on whatever machine, is new work.
    """

    position: float
    t: float


class RunAccount:
    """One run as this node sees it. Times follow the run's own events; money is the share's integral over the price."""

    def __init__(self, run: RunId, part: str) -> None:
        self.run = run
        self.part = part
        """Identity of this account: another machine's, or a later ledger's, account of the run is another part."""
        self.user: int | None = None
        """User who began the run; None if unknown."""
        self.facts = Facts()
        self.members = Members()
        self.leader: str | None = None
        """The process whose progress is followed."""
        self.epochs = Epochs()
        self.counted = CountedHere()
        self.share = ShareTrack()
        self.status: EndStatus | None = None
        self.finished: Finished | None = None
        self.phase_seconds: dict[Phase, float] = {}
        self.started_t: float | None = None
        self.last_event_t = 0.0
        self.settled = Settled()
        self.energy = Energy()
        self.reported = ReportedValues()
        self.before_reports: BeforeReports | None = None
        self.retracted = 0
        """How often what a process had reported was taken back."""
        self.is_open = False
        """Whether any process of the run is running."""
        self.ended_t: float | None = None
        """When its last process ended; None while one is running."""
        self._epoch_usd: list[float | None] = []
        self._epoch_sum: tuple[float, int, int] | None = None
        """Of all of them, until one more is known, or what they cost has changed."""

    # -- processes ---------------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        """A process came or went. Both figures are stored, for they are read for every run at every event."""
        ends = [member.end for member in self.members.values()]
        self.is_open = None in ends
        self.ended_t = max((end for end in ends if end is not None), default=None) if not self.is_open else None
        leads = holds_rank_zero(member for member in self.members.values() if member.end is None)
        self.counted.decide(leads, self.epochs, self.phase_seconds)
        if self.is_open and not leads:
            self.counted.disown()

    def seconds(self, now: float) -> float:
        """Seconds in which at least one of its processes was running, by the events' clock."""
        return self.settled.member_seconds + self.members.seconds(now)

    # -- events ------------------------------------------------------------------------------------------------------

    def only_moves(self, event: TrainingEvent) -> bool:
        """Whether it is one more event of the process that is followed, and contains at most the run's position."""
        before, member = self.before_reports, self.members.get(event.writer)
        return (
            event.kind is EventKind.PROGRESS
            and event.gpus is None
            and self.leader == event.writer
            and (before is not None and before.writer == event.writer)
            and (member is not None and member.end is None)
        )

    def take(self, event: TrainingEvent, floor: float) -> float | None:
        """Follow one event; what happened before ``floor`` (the machine's boot) is not charged.

        Returns:
            The instant from which shares must be computed again, None if no share changes.
        """
        if event.kind is not EventKind.GONE:
            self.last_event_t = max(self.last_event_t, event.t)
        facts_before = {name: getattr(self.facts, name) for name in FACTS}
        self.facts.take(event)
        changed = None
        member = self._member(event)
        if member is None:
            if event.kind in (EventKind.GONE, EventKind.END, EventKind.RETRACT):
                return None
            member, changed = self._join(event, floor)
        if event.kind is not EventKind.GONE:
            member.last_t = max(member.last_t, event.t)
        if event.gpus is not None and event.gpus != member.gpus and event.kind is not EventKind.START:
            member.gpus, member.held, changed = event.gpus, None, max(event.t, floor)
        if event.kind in (EventKind.END, EventKind.GONE):
            return self._leave(event, member, floor, facts_before) if member.end is None else None
        if member.end is not None:
            if not member.lost:
                return None
            changed = self._return(event, member)
        self._hear(event, member, facts_before)
        return changed

    def _hear(self, event: TrainingEvent, member: Member, facts_before: Mapping[str, Any]) -> None:
        """What a process reports about its progress: followed, retracted, or kept until the process is followed."""
        if event.kind is EventKind.RETRACT:
            self.retracted += self._retract(event.writer)  # it was a guess, and a wrong one
        elif self._leads(event):
            self._follow(event, facts_before)
        elif member.unheard is None and event.kind is not EventKind.START and reports_position(event):
            member.unheard = event

    def _leads(self, event: TrainingEvent) -> bool:
        """Whether the run's progress is what this process reports."""
        if self.leader == event.writer:
            return True
        unreported = not self.epochs.stepped and self.epochs.position is None
        if unreported and reports_position(event) and not self.members.leaves_it_to_rank_zero(event.writer):
            self.leader = event.writer  # the one so far has never reported a position: a launcher, perhaps
        return self.leader == event.writer

    def _follow(self, event: TrainingEvent, facts_before: Mapping[str, Any]) -> None:
        before = self.before_reports
        mine = before is not None and before.writer == event.writer
        if event.kind is EventKind.START and mine:
            self.before_reports = None
        elif event.kind is not EventKind.START and not mine and reports_position(event):
            dollars = {name: getattr(self.settled, name) for name in ("epoch_usd", "epochs", "epochs_here")}
            self.before_reports = BeforeReports.of(event.writer, facts_before, self.epochs, self.counted, dollars)
        self.epochs.take(event)
        self.counted.follow(self.epochs)
        if event.metrics:
            self.reported.take(event.metrics, self.epochs.attempts, event.writer)

    def _retract(self, writer: str) -> bool:
        """Forget every position and epoch that ``writer`` has reported; False if it has reported none."""
        self.reported.forget(writer)
        before = self.before_reports
        if before is None or before.writer != writer:
            return False
        leads = self.counted.leads
        for name, value in before.facts.items():
            setattr(self.facts, name, value)
        self.epochs = before.restored_epochs(self.epochs)
        self.counted = CountedHere.restored(before.counted)
        self.counted.decide(leads, self.epochs, self.phase_seconds)
        for name, value in before.dollars.items():
            setattr(self.settled, name, value)
        self.reprice()
        return True

    def _member(self, event: TrainingEvent) -> Member | None:
        """The process that wrote ``event``; a new start in the same file is another process."""
        member = self.members.get(event.writer)
        if member is not None and member.end is not None and event.kind is EventKind.START:
            self.members[f"{event.writer}#{len(self.members)}"] = self.members.pop(event.writer)
            return None
        return member

    def _join(self, event: TrainingEvent, floor: float) -> tuple[Member, float]:
        start = max(event.t, floor)
        if not self.is_open:
            heard_start = event.kind is EventKind.START
            self.epochs.begin_attempt(event.t, anew=self.status is EndStatus.FINISHED, heard_start=heard_start)
            self.leader, self.status = event.writer, None
        self.settled.member_seconds += self.members.forget_old(self.leader)
        self.members[event.writer] = member = Member(start, None, event.gpus, event.t, rank=rank_of(event))
        if member.rank == 0:
            if self.leader and self.members.is_first_rank_zero(event.writer, self.leader, self.epochs.started_t):
                self._retract(self.leader)  # rank 0 reports the same itself
                self.leader = event.writer
            elif self.epochs.position is None:
                self.leader = event.writer
        self._changed()
        self.started_t = start if self.started_t is None else min(self.started_t, start)
        return member, start

    def _leave(self, event: TrainingEvent, member: Member, floor: float, facts_before: Mapping[str, Any]) -> float:
        reporter = self.before_reports.writer if self.before_reports is not None else event.writer
        if (
            event.kind is EventKind.END
            and self._leads(event)
            and (self.epochs.position is None or reporter == event.writer)
        ):
            self._follow(event, facts_before)  # not the last events of a process that has only just come to be followed
        member.end = max(event.t, member.start, floor)
        member.lost = event.kind is EventKind.GONE
        self._changed()
        if self.leader == event.writer:
            self.status = event.status or EndStatus.LOST
            others = [name for name, m in self.members.items() if m.end is None]
            if others:
                self._succeed(others[0], member, facts_before)
        self._note_finish(member.end)
        return member.end

    def _note_finish(self, t: float) -> None:
        """Its last process has ended: a training run has finished here if it reports that, and included rank 0."""
        if self.is_open or self.status is not EndStatus.FINISHED or self.epochs.reached is None:
            return
        if holds_rank_zero(m for m in self.members.values() if m.start >= self.epochs.started_t):
            self.finished = Finished(self.epochs.high_water, t)

    def _succeed(self, writer: str, before: Member, facts_before: Mapping[str, Any]) -> None:
        """Another process is followed from now on.

        One that started only after ``before``, which died, had reported for the last time has come in its place: it is
        the next attempt, though its start was received before that death.
        """
        self.leader, now = writer, self.members[writer]
        if before.lost and now.start >= before.last_t:
            self.epochs.begin_attempt(now.start)
            self.status = None
            if now.unheard is not None:
                self._follow(now.unheard, facts_before)

    def _return(self, event: TrainingEvent, member: Member) -> float | None:
        """A process that was thought gone has spoken: it was there all the time."""
        gone, member.end, member.lost, self.status = member.end, None, False, None
        self._changed()
        if self.leader is None or self.members[self.leader].end is not None:
            self.leader = event.writer
        return gone

    def close(self, t: float) -> None:
        """Every process still running is taken to have ended at ``t``: the machine was booted since."""
        for member in self.members.values():
            if member.end is None:
                member.end = max(t, member.start)
                self.status = EndStatus.LOST
        self._changed()

    # -- money -------------------------------------------------------------------------------------------------------

    def cost(self, start: float, end: float, price: PriceTrack) -> float | None:
        """Exact dollars from ``start`` to ``end``; None while the price of any part of it is not known.

        None, too, if the share changed so often that its value at ``start`` is no longer kept.
        """
        if start < self.settled.cut_t:
            return None
        usd, unpriced = self.share.cost(start, end, price)
        return None if unpriced > 0 else usd

    def cost_usd(self, now: float, price: PriceTrack) -> float | None:
        """Exact dollars of the run on this node until ``now``, where the price is known; None if that is nowhere."""
        usd, unpriced = self.share.cost(self.settled.until, now, price)
        usd += self.settled.usd
        return None if usd == 0 and (unpriced > 0 or price.at(now) is None) else usd

    def settle(self, until: float, price: PriceTrack) -> None:
        """What lies before ``until`` keeps the dollars it has; earlier, if the share changed very often.

        The newest finished epoch and the one that runs are kept in detail, however long they are.
        """
        often = len(self.share.times) > MAX_SHARE_STEPS
        if often:
            until = max(until, self.share.times[len(self.share.times) // 2])
        else:
            begun = [epoch.start for epoch in self.epochs.finished[-1:]]
            until = min([until, *begun, *([] if self.epochs.begin_t is None else [self.epochs.begin_t])])
        if not self.share.times or until <= max(self.settled.until, self.share.times[0]):
            return
        old = sum(1 for epoch in self.epochs.finished if epoch.start < until)
        self._fold(self.epochs.drop_oldest(old), price)
        self.settled.usd += self.share.cost(self.settled.until, until, price)[0]
        self.settled.until = until
        self.settled.cut_t = until if often else self.settled.cut_t
        self.share.forget_before(until)

    def _fold(self, epochs: Sequence[Epoch], price: PriceTrack) -> None:
        costs = [self.cost(epoch.start, epoch.end, price) for epoch in epochs]
        if self.before_reports is not None:
            self.before_reports.folded(epochs, costs)
        for epoch, cost in zip(epochs, costs, strict=True):
            self.settled.epoch_usd += cost or 0.0
            self.settled.epochs += epoch.count if cost is not None else 0
            self.settled.epochs_here += epoch.count if cost is not None and epoch.counted else 0
        del self._epoch_usd[: len(epochs)]
        self._epoch_sum = None

    def epoch_costs(self, price: PriceTrack) -> list[float | None]:
        """Dollars of each finished epoch that is kept, oldest first."""
        excess = len(self.epochs.finished) - MAX_EPOCHS_KEPT
        if excess > 0:
            self._fold(self.epochs.drop_oldest(excess + MAX_EPOCHS_KEPT // 10), price)
        for epoch in self.epochs.finished[len(self._epoch_usd) :]:
            usd = self.cost(epoch.start, epoch.end, price)
            self._epoch_usd.append(usd)
            if self._epoch_sum is not None and usd is not None:
                whole, count, here = self._epoch_sum
                self._epoch_sum = whole + usd, count + epoch.count, here + epoch.count * epoch.counted
        return self._epoch_usd

    def epoch_cost_usd_sum(self, price: PriceTrack) -> tuple[float, int]:
        """Dollars of all finished epochs whose price is known, and how many epochs those are."""
        return self._priced(price)[:2]

    def priced_here(self, price: PriceTrack) -> int:
        """How many of those are counted on this machine."""
        return self._priced(price)[2]

    def _priced(self, price: PriceTrack) -> tuple[float, int, int]:
        costs = self.epoch_costs(price)
        if self._epoch_sum is None:
            usd = self.settled.epoch_usd + math.fsum(cost for cost in costs if cost is not None)
            priced = [e for e, cost in zip(self.epochs.finished, costs, strict=True) if cost is not None]
            here = self.settled.epochs_here + sum(e.count for e in priced if e.counted)
            self._epoch_sum = usd, self.settled.epochs + sum(e.count for e in priced), here
        return self._epoch_sum

    def unsettled_epochs(self, until: float, costs: Sequence[float | None]) -> tuple[float, int]:
        """Of the finished epochs that ended after ``until``: dollars, and how many priced ones are counted here."""
        usd, here = 0.0, 0
        for epoch, cost in zip(reversed(self.epochs.finished), reversed(costs), strict=True):
            if epoch.end <= until:
                break
            if cost is not None:
                usd += cost
                here += epoch.count if epoch.counted else 0
        return usd, here

    def reprice(self) -> None:
        """Prices or shares of the past have changed: what was computed is computed again when it is read."""
        self._epoch_usd, self._epoch_sum = [], None

    # -- persistence -------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "facts": asdict(self.facts),
            "part": self.part,
            "user": self.user,
            "members": self.members.state(),
            "leader": self.leader,
            "status": self.status.value if self.status else None,
            "finished": [self.finished.position, self.finished.t] if self.finished else None,
            "epochs": self.epochs.state(),
            "counted": self.counted.state(),
            "share": self.share.state(),
            "phase_seconds": {p.value: s for p, s in self.phase_seconds.items()},
            "started_t": self.started_t,
            "last_event_t": self.last_event_t,
            "settled": asdict(self.settled),
            "retracted": self.retracted,
            "energy": asdict(self.energy),
            "reported": self.reported.state(),
            "before_reports": self.before_reports.state() if self.before_reports else None,
        }

    @classmethod
    def restored(cls, run: RunId, state: Mapping[str, Any]) -> RunAccount:
        """The account that `state` described."""
        it = cls(run, str(state["part"]))
        it.user = state.get("user")
        it.facts = Facts(**state["facts"])
        it.members = Members.restored(state["members"])
        it.leader = state["leader"]
        it.status = EndStatus(state["status"]) if state["status"] else None
        it.finished = Finished(*state["finished"]) if state.get("finished") else None
        it.epochs = Epochs.restored(state["epochs"])
        it.share = ShareTrack.restored(state["share"])
        it.phase_seconds = {Phase(p): s for p, s in state["phase_seconds"].items()}
        it.counted = CountedHere.restored(state["counted"])
        it._changed()
        it.started_t, it.last_event_t = state["started_t"], state["last_event_t"]
        it.settled = Settled(**state["settled"])
        it.retracted = int(state["retracted"])
        it.energy = Energy(**state.get("energy", {}))
        it.reported = ReportedValues.restored(state.get("reported"))
        it.before_reports = BeforeReports.restored(state["before_reports"])
        return it
