"""What the store knows of machines and runs in a span, put together by the machines' own names, whatever scraped them.

Agents of the version before do not name their machine on each series: theirs are told apart by target, and by the node
that the target said it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from epochcost.reports.errors import ReportError
from epochcost.reports.span import Span, clock
from epochcost.reports.tracks import Labels, Reader, Track

Fold = Callable[[float, float], float]
IDENTITY = ("provider", "region", "zone", "instance_type", "purchase_option")
COUNTERS = (
    "run_seconds_total", "run_cost_usd_total", "run_epochs_total", "run_epoch_seconds_sum", "run_epoch_seconds_count",
    "run_epoch_cost_usd_sum", "run_epoch_cost_usd_count",
)  # fmt: skip
STATE_COUNTERS = ("run_state_seconds_total", "run_state_cost_usd_total")
MACHINE, PART = "epochcost_machine", "part"
_OWN = {
    *IDENTITY, MACHINE, PART, "node", "run", "state", "gpu", "uuid", "experiment", "framework", "nodes", "world",
    "launcher", "launcher_job", "attempt",
}  # fmt: skip
_MOST_RUNS_IN_A_QUERY = 200
MOST_RUNS_SHOWN = 50
"""As many as an agent exports at once."""


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
        info: who it is by window: labels of `IDENTITY`.
        seen: windows in which it was scraped.
        seconds, dollars: its own counters by state.
        provisional: dollars by state that are not settled yet, as of a window.
        parts: of what an hour was made, in $/h by part.
        born: when it was booted first (s), where that is known.
        reborn: when it was booted last.
    """

    name: str = ""
    info: dict[int, Mapping[str, str]] = field(default_factory=dict)
    seen: Track = field(default_factory=Track)
    seconds: dict[str, Track] = field(default_factory=dict)
    dollars: dict[str, Track] = field(default_factory=dict)
    provisional: dict[str, Track] = field(default_factory=dict)
    parts: dict[str, Track] = field(default_factory=dict)
    price: Track = field(default_factory=Track)
    on_demand: Track = field(default_factory=Track)
    gpu_memory_bytes: float | None = None
    gpu_memory_used: Track = field(default_factory=Track)
    gpus: float | None = None
    power_watts: Track = field(default_factory=Track)
    unpriced_seconds: float = 0.0
    born: float | None = None
    reborn: float | None = None

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
    batch_sizes: tuple[float, float] | None = None
    gpus: float | None = None

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
    """What one machine's ledger knows of a run; ``part`` is empty where an agent of the version before says it."""

    node: NodeKey
    part: str = ""


@dataclass(slots=True)
class RunHistory:
    """One run: what it is, and its parts on machines."""

    experiment: str = ""
    framework: str = ""
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
    """Nodes that showed so many runs within one window that others may have been left out."""
    nameless: set[str] = field(default_factory=set)
    """Addresses of agents that did not say which node they are on."""

    def called(self, key: NodeKey) -> str:
        """What people call a machine: by its node's name."""
        node = self.nodes.get(key)
        return (node.name if node is not None else "") or key.name


@dataclass(slots=True)
class HistoryLoader:
    """Reads a `History`.

    Attributes:
        matchers: PromQL matchers for agents' series, as the user wrote them.
        experiment, run: regular expressions that a run must fit from end to end; empty for all.
        kept: labels that tell machines and runs of one name apart, and split the bill; all others are of scrapes.
    """

    reader: Reader
    matchers: str
    experiment: str
    run: str
    kept: tuple[str, ...]
    history: History = field(init=False)
    _names: dict[Labels, dict[int, str]] = field(default_factory=dict)
    _machines: dict[NodeKey, set[str]] = field(default_factory=dict)
    """Names of machines by the names of their nodes."""

    def __post_init__(self) -> None:
        self.history = History(self.reader.span)

    def read(self) -> History:
        """The history of the runs that are asked for, and of all nodes.

        Raises:
            ReportError: when the store cannot be asked, or holds nothing of ours in the span.
        """
        self._identify()
        wanted = self._runs()
        self._nodes()
        if wanted:
            self._members(",".join(filter(None, (self.matchers, wanted))))
        self._poller()
        return self.history

    def _identify(self) -> None:
        infos = self.reader.tracks("node_info", self.matchers)
        for named in map(dict, infos):
            if named.get(MACHINE):
                by_name = NodeKey(named.get("node", ""), self._context(tuple(named.items())))
                self._machines.setdefault(by_name, set()).add(named[MACHINE])
        for labels, track in infos.items():
            named, target = dict(labels), self._target(labels)
            key = NodeKey(named[MACHINE], self._context(labels)) if named.get(MACHINE) else self._by_name(named, labels)
            node = self._node(key)
            node.name = named.get("node", "")
            for index, value in track.items():
                if not named.get(MACHINE):
                    self._names.setdefault(target, {})[index] = key.name
                if not node.info.get(index, {}).get("instance_type"):
                    node.info[index] = {name: named.get(name, "") for name in IDENTITY}
                node.seen.put(index, value)
        if not infos:
            span = self.history.span
            raise ReportError(
                f"{self.reader.store.url} holds no epochcost_node_info"
                f"{f' that fits {{{self.matchers}}}' if self.matchers else ''} between {clock(span.begin)} and "
                f"{clock(span.end)}: does it scrape agents, and did it already then?"
            )

    def _runs(self) -> str:
        """Note the runs; a matcher for them (empty where there is none)."""
        shown: dict[tuple[int, NodeKey], set[str]] = {}
        infos: dict[Labels, None] = {}
        for index, labels, _ in self.reader.values("run_info", self.matchers, "last_over_time"):
            infos[labels] = None
            shown.setdefault((index, self._key(labels, index)), set()).add(dict(labels).get("run", ""))
        self.history.crowded = {
            self.history.called(key) for (_, key), runs in shown.items() if len(runs) >= MOST_RUNS_SHOWN
        }
        for labels in infos:
            named = dict(labels)
            if _fits(self.experiment, named.get("experiment", "")) and _fits(self.run, named["run"]):
                run = self.history.runs.setdefault(self._run(labels), RunHistory())
                run.experiment = run.experiment or named.get("experiment", "")
                run.framework = run.framework or named.get("framework", "")
        ids = sorted({key.run for key in self.history.runs})
        if not ids:
            return ""
        if len(ids) > _MOST_RUNS_IN_A_QUERY or not (self.experiment or self.run):
            return 'run!=""'
        pattern = "|".join(map(re.escape, ids)).replace("\\", "\\\\").replace('"', '\\"')
        return f'run=~"{pattern}"'

    def _nodes(self) -> None:
        for metric, into in (
            ("node_seconds_total", "seconds"),
            ("node_cost_usd_total", "dollars"),
            ("node_provisional_cost_usd", "provisional"),
        ):
            counter = metric.endswith("_total")
            for labels, track in self.reader.tracks(metric, self.matchers, counter=counter).items():
                for key, part in self._by_node(labels, track):
                    by_state: dict[str, Track] = getattr(self._node(key), into)
                    by_state.setdefault(dict(labels).get("state", ""), Track()).merge(part)
        for labels, track in self.reader.tracks("node_price_part_usd_per_hour", self.matchers, "avg_over_time").items():
            for key, part in self._by_node(labels, track):
                self._node(key).parts.setdefault(dict(labels).get("part", ""), Track()).merge(part)
        for metric, rollup, into in (
            ("node_price_usd_per_hour", "avg_over_time", "price"),
            ("node_on_demand_price_usd_per_hour", "avg_over_time", "on_demand"),
            ("node_power_watts", "avg_over_time", "power_watts"),
            ("gpu_memory_used_bytes", "max_over_time", "gpu_memory_used"),
        ):
            for labels, track in self.reader.tracks(metric, self.matchers, rollup).items():
                for key, part in self._by_node(labels, track):
                    getattr(self._node(key), into).merge(part)
        self._node_gauge("node_gpus", "gpus", max)
        self._node_gauge("gpu_memory_total_bytes", "gpu_memory_bytes", min)
        self._node_gauge("node_boot_time_seconds", "born", min)
        self._node_gauge("node_boot_time_seconds", "reborn", max)
        self._node_gauge("node_unpriced_seconds", "unpriced_seconds", _newest)

    def _node_gauge(self, metric: str, into: str, fold: Fold) -> None:
        for key, _, value in self._figures(metric, self.matchers, fold):
            node = self._node(key)
            old = getattr(node, into)
            setattr(node, into, value if old is None else fold(old, value))

    def _members(self, matchers: str) -> None:
        for metric in COUNTERS:
            for member, labels, part in self._member_tracks(metric, matchers):
                member.counters.setdefault(metric, Track()).merge(part)
                self._restarts(labels, part)
        for metric in STATE_COUNTERS:
            for member, labels, part in self._member_tracks(metric, matchers):
                member.states.setdefault((metric, dict(labels).get("state", "")), Track()).merge(part)
        for member, _, part in self._member_tracks("run_useful_epochs", matchers):
            member.useful_epochs.merge(part)
        for member, _, part in self._member_tracks("run_provisional_cost_usd", matchers, counter=False):
            member.provisional.merge(part)
        for member, _, part in self._member_tracks("run_provisional_epoch_cost_usd", matchers, counter=False):
            member.provisional_epochs.merge(part)
        self._gauges(matchers)
        for run in self.history.runs.values():
            _join_versions(run)

    def _restarts(self, labels: Labels, track: Track) -> None:
        if falls := len(track.falls()):
            key = self._run(labels)
            self.history.counted_again[key] = max(falls, self.history.counted_again.get(key, 0))

    def _gauges(self, matchers: str) -> None:
        for metric, into, fold in (
            ("run_start_timestamp_seconds", "started", min),
            ("run_memory_peak_bytes", "memory_peak_bytes", max),
            ("run_current_epoch_seconds", "current_epoch_seconds", _newest),
            ("run_gpus", "gpus", max),
            ("run_start_epoch", "start_epoch", min),
            ("run_before_epochs", "before_epochs", max),
            ("run_finished_epochs", "finished_epochs", max),
            ("run_finished_timestamp_seconds", "finished", max),
            ("run_attempt_timestamp_seconds", "attempt", max),
        ):
            for key, labels, value in self._figures(metric, matchers, fold):
                if (member := self._member(labels, key)) is not None:
                    setattr(member, into, value)
        for key, labels, track in self._parts(self.reader.tracks("run_batch_size", matchers)):
            member = self._member(labels, key)
            sizes = [value for _, value in track.items()]
            if member is not None and sizes:
                member.batch_sizes = (min(sizes), sizes[-1])

    def _poller(self) -> None:
        """Only where an agent lacks a price that somebody will ask for."""
        if all(node.price.values and node.on_demand.values for node in self.history.nodes.values()):
            return
        for labels, track in self.reader.tracks("instance_price_usd_per_hour", "", "avg_over_time").items():
            key = tuple((name, dict(labels).get(name, "")) for name in IDENTITY)
            offers = self.history.poller.setdefault(self._context(labels), {})
            offers.setdefault(key, Track()).merge(track)

    def _member_tracks(
        self, metric: str, matchers: str, *, counter: bool = True
    ) -> Iterable[tuple[Member, Labels, Track]]:
        for key, labels, part in self._parts(self.reader.tracks(metric, matchers, counter=counter)):
            if (member := self._member(labels, key)) is not None:
                yield member, labels, part

    def _parts(self, tracks: Mapping[Labels, Track]) -> Iterable[tuple[NodeKey, Labels, Track]]:
        for labels, track in tracks.items():
            for key, part in self._by_node(labels, track):
                yield key, labels, part

    def _figures(self, metric: str, matchers: str, fold: Fold) -> Iterable[tuple[NodeKey, Labels, float]]:
        """One figure for each series of a node; an address that moved on to another node counts for its last one."""
        for labels, value in self.reader.folded(metric, matchers, "last_over_time", fold).items():
            yield self._key(labels, self.history.span.steps), labels, value

    def _member(self, labels: Labels, node: NodeKey) -> Member | None:
        run = self.history.runs.get(self._run(labels))
        return None if run is None else run.members.setdefault(PartKey(node, dict(labels).get(PART, "")), Member())

    def _by_node(self, labels: Labels, track: Track) -> Iterable[tuple[NodeKey, Track]]:
        """Cut a series that does not name its machine where its address passed from one node to another."""
        if dict(labels).get(MACHINE):
            return [(self._key(labels, 0), track)]
        target = self._target(labels)
        if len(set(self._names.get(target, {}).values())) <= 1:
            return [(self._key(labels, 0), track)]
        parts: dict[NodeKey, Track] = {}
        for index, value in track.items():
            parts.setdefault(self._key(labels, index), Track()).put(index, value)
        for part in parts.values():
            part.peaks = {i: peak for i, peak in track.peaks.items() if i in dict(part.items())}
        return parts.items()

    def _key(self, labels: Labels, index: int) -> NodeKey:
        named, context = dict(labels), self._context(labels)
        if named.get(MACHINE):
            return NodeKey(named[MACHINE], context)
        names = self._names.get(self._target(labels))
        if not names:
            address = named.get("instance", "")
            self.history.nameless.add(address)
            return NodeKey(address, context)
        return NodeKey(names.get(index) or names[min(names, key=lambda i: abs(i - index))], context)

    def _by_name(self, named: Mapping[str, str], labels: Labels) -> NodeKey:
        """The machine that now says it is this node, if it is the only one: its agent is of this version since."""
        key = NodeKey(named.get("node", ""), self._context(labels))
        machines = self._machines.get(key, set())
        return NodeKey(next(iter(machines)), key.context) if len(machines) == 1 else key

    def _node(self, key: NodeKey) -> NodeHistory:
        return self.history.nodes.setdefault(key, NodeHistory())

    def _run(self, labels: Labels) -> RunKey:
        return RunKey(dict(labels).get("run", ""), self._context(labels))

    @staticmethod
    def _target(labels: Labels) -> Labels:
        return tuple((name, value) for name, value in labels if name not in _OWN)

    def _context(self, labels: Labels) -> Labels:
        return tuple((name, value) for name, value in labels if name in self.kept)


def _join_versions(run: RunHistory) -> None:
    """What an agent exported before it named parts is the part that it names since, if there is one."""
    for key in [key for key in run.members if not key.part]:
        since = [other for other in run.members if other.node == key.node and other.part]
        if len(since) == 1:
            run.members[since[0]].take(run.members.pop(key))


def _fits(pattern: str, text: str) -> bool:
    return not pattern or re.fullmatch(pattern, text) is not None


def _newest(_: float, new: float) -> float:
    return new
