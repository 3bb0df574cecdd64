"""What a store knows of machines and runs in a span, by the machines' own names, whatever scraped them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from epochcost.reports.span import Span
from epochcost.reports.tracks import Labels, Track

IDENTITY = ("provider", "region", "zone", "instance_type", "purchase_option")


@dataclass(frozen=True, slots=True)
class NodeKey:
    """A machine: its name, and the labels that are kept (``cluster``)."""

    name: str
    context: Labels = ()


@dataclass(frozen=True, slots=True)
class RunKey:
    """A run: its id, and the labels that are kept."""

    run: str
    context: Labels = ()


@dataclass(slots=True)
class NodeHistory:
    """One machine in the span.

    Attributes:
        name: of its node, for people.
        team: that pays for it; empty if unknown.
        held: GPU-seconds without a run, by owner and namespace, each empty where unknown; read only if requested.
        info: who it is by window: labels of `IDENTITY`.
        seen: windows in which it was scraped.
        seconds, dollars: its own counters by state.
        provisional: dollars by state that are not settled yet, as of a window.
        parts: components of the hourly price, in $/h by part.
        egress: cost of traffic as counted, in dollars by extra.
        born: when it was booted first (s), where that is known.
        reborn: when it was booted last.
    """

    name: str = ""
    team: str = ""
    held: dict[tuple[str, str], float] = field(default_factory=dict)
    info: dict[int, Mapping[str, str]] = field(default_factory=dict)
    seen: Track = field(default_factory=Track)
    seconds: dict[str, Track] = field(default_factory=dict)
    dollars: dict[str, Track] = field(default_factory=dict)
    provisional: dict[str, Track] = field(default_factory=dict)
    parts: dict[str, Track] = field(default_factory=dict)
    egress: dict[str, Track] = field(default_factory=dict)
    price: Track = field(default_factory=Track)
    on_demand: Track = field(default_factory=Track)
    gpu_memory_bytes: float | None = None
    gpu_memory_used: Track = field(default_factory=Track)
    gpus: float | None = None
    power_watts: Track = field(default_factory=Track)
    unpriced_seconds: float = 0.0
    born: float | None = None
    reborn: float | None = None

    def begins_in(self, span: Span) -> bool:
        """Whether it was booted first within ``span``: its counters began at 0 there."""
        return self.born is not None and self.born >= span.begin - 1

    def who(self, index: int) -> Mapping[str, str]:
        """Its identity in a window, or in the nearest one that knows."""
        if index in self.info:
            return self.info[index]
        return self.info[min(self.info, key=lambda known: abs(known - index))] if self.info else {}


@dataclass(slots=True)
class Member:
    """One part of a run, on one machine: counters by name, and by name and state; gauges reduced to one figure."""

    counters: dict[str, Track] = field(default_factory=dict)
    states: dict[tuple[str, str], Track] = field(default_factory=dict)
    useful_epochs: Track = field(default_factory=Track)
    provisional: Track = field(default_factory=Track)
    provisional_epochs: Track = field(default_factory=Track)
    start_epoch: float | None = None
    before_epochs: float | None = None
    finished_epochs: float | None = None
    finished: float | None = None
    attempt: float | None = None
    started: float | None = None
    memory_peak_bytes: float | None = None
    current_epoch_seconds: float | None = None
    batch_sizes: tuple[float, ...] = ()
    """In the order in which they were seen, without repetitions."""
    gpus: float | None = None
    ended: tuple[int, str] | None = None
    """The last window in which it had ended, and how."""
    reported: dict[str, tuple[int, float]] = field(default_factory=dict)
    """The last value of each metric, and in which window it was seen."""
    stopped: bool = False
    """It reports that a policy of the guard ended it."""

    def take(self, earlier: Member) -> None:
        """The same account as an agent of the version before exported it."""
        for name, track in earlier.counters.items():
            self.counters.setdefault(name, Track()).merge(track)
        for key, track in earlier.states.items():
            self.states.setdefault(key, Track()).merge(track)
        self.useful_epochs.merge(earlier.useful_epochs)
        starts = [t for t in (self.started, earlier.started) if t is not None]
        self.started = min(starts, default=None)
        peaks = [b for b in (self.memory_peak_bytes, earlier.memory_peak_bytes) if b is not None]
        self.memory_peak_bytes = max(peaks, default=None)


@dataclass(frozen=True, slots=True)
class PartKey:
    """What one machine's ledger knows of a run; ``part`` is empty from an agent of the previous version."""

    node: NodeKey
    part: str = ""


@dataclass(slots=True)
class RunHistory:
    """One run: what it is, the team that pays for it (empty if unknown), and its parts on machines."""

    experiment: str = ""
    framework: str = ""
    team: str = ""
    owner: str = ""
    namespace: str = ""
    launcher: str = ""
    account: str = ""
    """That Slurm charges, as the run reports."""
    members: dict[PartKey, Member] = field(default_factory=dict)


@dataclass(slots=True)
class History:
    """Everything that was read."""

    span: Span
    nodes: dict[NodeKey, NodeHistory] = field(default_factory=dict)
    runs: dict[RunKey, RunHistory] = field(default_factory=dict)
    poller: dict[Labels, dict[Labels, Track]] = field(default_factory=dict)
    """Prices by the labels that are kept of a poller, and by provider, region, zone, instance type, purchase option."""
    counted_again: dict[RunKey, int] = field(default_factory=dict)
    crowded: set[str] = field(default_factory=set)
    """Nodes with too many runs within one window: others may have been left out."""
    nameless: set[str] = field(default_factory=set)
    """Addresses of agents that did not report which node they are on."""
    whole: bool = True
    """All runs were read, not only those requested."""
    cut: str = ""
    """Which runs were left out since there were too many; empty where none was."""

    _on: dict[NodeKey, int] = field(default_factory=dict)

    def runs_on(self, key: NodeKey) -> int:
        """How many runs had a part on a machine; only after all were read."""
        if not self._on:
            for run in self.runs.values():
                for node in {part.node for part in run.members}:
                    self._on[node] = self._on.get(node, 0) + 1
        return self._on.get(key, 0)

    def called(self, key: NodeKey) -> str:
        """What people call a machine: by its node's name."""
        node = self.nodes.get(key)
        return (node.name if node is not None else "") or key.name
