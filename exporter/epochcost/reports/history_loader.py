"""Reads a history from a store: which machines and runs there were, and what they counted.

Agents of the previous version do not name their machine on each series: their machines are distinguished by target, and
by the node that the target reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from epochcost.reports.errors import ReportError
from epochcost.reports.history import IDENTITY, History, Member, NodeHistory, NodeKey, PartKey, RunHistory, RunKey
from epochcost.reports.history_owners import read_owners
from epochcost.reports.span import clock
from epochcost.reports.tracks import Labels, Reader, Track
from epochcost.store.promql_client import quoted

Fold = Callable[[float, float], float]
COUNTERS = (
    "run_seconds_total", "run_cost_usd_total", "run_epochs_total", "run_epoch_seconds_sum", "run_epoch_seconds_count",
    "run_epoch_cost_usd_sum",
)  # fmt: skip
STATE_COUNTERS = ("run_state_seconds_total", "run_state_cost_usd_total")
MACHINE, PART = "epochcost_machine", "part"
_OWN = {
    *IDENTITY, MACHINE, PART, "node", "run", "state", "gpu", "uuid", "experiment", "framework", "nodes", "world",
    "launcher", "launcher_job", "attempt", "team", "owner_user", "slurm_job_id",
    "slurm_account", "slurm_partition", "metric",
}  # fmt: skip
ENDED = 'state=~"finished|failed|preempted|lost"'
_MOST_CHARACTERS = 8000
"""Of run ids in one query: VictoriaMetrics takes 16 KiB."""
MOST_RUNS_SHOWN = 50
"""As many as an agent exports at once."""


@dataclass(frozen=True, slots=True)
class _Selection:
    """Runs to read with one query: a matcher that they fit, and the first and last window in which one was seen."""

    matcher: str
    windows: tuple[int, int]

    @staticmethod
    def of(escaped: Iterable[str], first: int, last: int) -> _Selection:
        """Of ids that are escaped for a regular expression in quotes of PromQL."""
        return _Selection(f'run=~"{"|".join(escaped)}"', (first, last))


@dataclass(slots=True)
class HistoryLoader:
    """Reads a `History`.

    Attributes:
        matchers: PromQL matchers for agents' series, as the user wrote them.
        experiment, run: regular expressions that a run must match in full; empty for all.
        owners: also read the owners of GPUs without a run.
        most_runs: if there are more, those with the most dollars are read; 0 for all.
        on_cut: called at once with what is left out.
        labels: those that distinguish machines and runs of one name, and split the bill; all others come from scrapes.
    """

    reader: Reader
    matchers: str
    experiment: str
    run: str
    labels: tuple[str, ...]
    owners: bool = False
    most_runs: int = 0
    on_cut: Callable[[str], None] = lambda _: None
    history: History = field(init=False)
    _names: dict[Labels, dict[int, str]] = field(default_factory=dict)
    _machines: dict[NodeKey, set[str]] = field(default_factory=dict)
    """Names of machines by the names of their nodes."""

    def __post_init__(self) -> None:
        self.history = History(self.reader.span)
        self.labels = tuple(sorted(self.labels))

    def read(self) -> History:
        """The history of the requested runs, and of all nodes.

        Raises:
            ReportError: when a request to the store fails, or it has none of our series in the span.
        """
        self._identify()
        selection = self._runs()
        self._nodes()
        for runs in selection:
            with self.reader.within(*runs.windows):
                self._members(",".join(filter(None, (self.matchers, runs.matcher))))
        for run in self.history.runs.values():
            _join_versions(run)
        if self.owners:
            read_owners(self.reader, self.matchers, self.history, self._key, self._run)
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
            node.team = named.get("team") or node.team
            for index, value in track.items():
                if not named.get(MACHINE):
                    self._names.setdefault(target, {})[index] = key.name
                if not node.info.get(index, {}).get("instance_type"):
                    node.info[index] = {name: named.get(name, "") for name in IDENTITY}
                node.seen.put(index, value)
        if not infos:
            span = self.history.span
            raise ReportError(
                f"{self.reader.store.url} has no epochcost_node_info"
                f"{f' matching {{{self.matchers}}}' if self.matchers else ''} between {clock(span.begin)} and "
                f"{clock(span.end)}: does it scrape agents, and did it at that time?"
            )

    def _runs(self) -> list[_Selection]:
        """Note the runs; matchers that fit them and no others, each for as many as one query takes."""
        names: dict[tuple[int, NodeKey], set[str]] = {}
        windows: dict[str, tuple[int, int]] = {}
        infos: dict[Labels, None] = {}
        seen = 0
        for index, labels, _ in self.reader.values("run_info", self.matchers, "last_over_time"):
            infos[labels] = None
            seen += 1
            run = dict(labels).get("run", "")
            names.setdefault((index, self._key(labels, index)), set()).add(run)
            first, last = windows.get(run, (index, index))
            windows[run] = min(first, index), max(last, index)
        self.history.crowded = {
            self.history.called(key) for (_, key), runs in names.items() if len(runs) >= MOST_RUNS_SHOWN
        }
        for labels in infos:
            self._note(labels)
        self.reader.suit(seen / max(len(infos), 1))
        self.history.whole = not (self.experiment or self.run)
        if self.most_runs and len(self.history.runs) > self.most_runs:
            self._cut()
        ids = {key.run for key in self.history.runs}
        if self.history.whole:
            return [_Selection('run!=""', (0, self.history.span.steps))] if ids else []
        return list(_alternatives({run: windows[run] for run in ids}))

    def _cut(self) -> None:
        """Keep the runs of the most dollars, by their counters alone."""
        spent: dict[RunKey, float] = dict.fromkeys(self.history.runs, 0.0)
        for labels, track in self.reader.tracks("run_cost_usd_total", self.matchers).items():
            if (key := self._run(labels)) in spent:
                spent[key] += max((value for _, value in track.items()), default=0.0)
        top = sorted(spent, key=lambda key: (-spent[key], key.run, key.context))[: self.most_runs]
        left = sum(spent.values()) - sum(spent[key] for key in top)
        of = len(spent)
        self.history.runs = {key: self.history.runs[key] for key in top}
        self.history.whole = False
        self.history.cut = (
            f"{of - len(top):,} of {of:,} runs are left out, those with the lowest cost (about ${left:,.2f} in all): "
            "--most-runs 0 reads all; --experiment, --runs and --match read fewer"
        )
        self.on_cut(self.history.cut)

    def _note(self, labels: Labels) -> None:
        named = dict(labels)
        if not (_fits(self.experiment, named.get("experiment", "")) and _fits(self.run, named["run"])):
            return
        run = self.history.runs.setdefault(self._run(labels), RunHistory())
        for name, label in (
            ("experiment", "experiment"), ("framework", "framework"), ("team", "team"), ("owner", "owner_user"),
            ("launcher", "launcher"), ("account", "slurm_account"),
        ):  # fmt: skip
            setattr(run, name, getattr(run, name) or named.get(label, ""))

    def _price_parts(self) -> None:
        for labels, track in self.reader.tracks("node_price_part_usd_per_hour", self.matchers, "avg_over_time").items():
            for key, part in self._by_node(labels, track):
                self._node(key).parts.setdefault(dict(labels).get("part", ""), Track()).merge(part)
        for labels, track in self.reader.tracks("node_egress_cost_usd_total", self.matchers, counter=True).items():
            for key, part in self._by_node(labels, track):
                self._node(key).egress.setdefault(dict(labels).get("extra", ""), Track()).merge(part)

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
        self._price_parts()
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
        self._reported(matchers)
        self._endings(matchers)

    def _reported(self, matchers: str) -> None:
        """The last value of each metric that a run reported."""
        for labels, track in self.reader.tracks("run_reported_value", matchers).items():
            for key, part in self._by_node(labels, track):
                member, last = self._member(labels, key), part.last()
                if member is not None and last is not None:
                    member.reported[dict(labels).get("metric", "")] = last

    def _endings(self, matchers: str) -> None:
        """How each part had ended, where it had."""
        ended = self.reader.tracks("run_state", f"{matchers},{ENDED}", only=" == 1")
        for member, labels, part in self._members_of(ended):
            last = part.last()
            if last is not None and (member.ended is None or last[0] > member.ended[0]):
                member.ended = last[0], dict(labels).get("state", "")
        for member, _, _ in self._members_of(self.reader.tracks("run_stopped_info", matchers)):
            member.stopped = True

    def _restarts(self, labels: Labels, track: Track) -> None:
        if falls := len(track.falls()):
            key = self._run(labels)
            self.history.counted_again[key] = max(falls, self.history.counted_again.get(key, 0))

    def _gauges(self, matchers: str) -> None:
        for metric, into, fold in (
            ("run_start_timestamp_seconds", "started", min),
            ("run_memory_peak_bytes", "memory_peak_bytes", max),
            ("run_current_epoch_seconds", "current_epoch_seconds", _newest),
            ("run_start_epoch", "start_epoch", min),
            ("run_before_epochs", "before_epochs", max),
            ("run_finished_epochs", "finished_epochs", max),
            ("run_finished_timestamp_seconds", "finished", max),
            ("run_attempt_timestamp_seconds", "attempt", max),
            ("run_gpus", "gpus", max),
        ):
            for key, labels, value in self._figures(metric, matchers, fold):
                if (member := self._member(labels, key)) is not None:
                    setattr(member, into, value)
        for member, _, track in self._members_of(self.reader.tracks("run_batch_size", matchers)):
            member.batch_sizes += tuple(dict.fromkeys(value for _, value in track.items()))

    def _poller(self) -> None:
        """Only if an agent lacks a price that will be needed."""
        if all(node.price.values and node.on_demand.values for node in self.history.nodes.values()):
            return
        for labels, track in self.reader.tracks("instance_price_usd_per_hour", "", "avg_over_time").items():
            key = tuple((name, dict(labels).get(name, "")) for name in IDENTITY)
            offers = self.history.poller.setdefault(self._context(labels), {})
            offers.setdefault(key, Track()).merge(track)

    def _member_tracks(
        self, metric: str, matchers: str, *, counter: bool = True
    ) -> Iterable[tuple[Member, Labels, Track]]:
        return self._members_of(self.reader.tracks(metric, matchers, counter=counter))

    def _members_of(self, tracks: Mapping[Labels, Track]) -> Iterable[tuple[Member, Labels, Track]]:
        for key, labels, part in self._parts(tracks):
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
        if machine := dict(labels).get(MACHINE):
            return [(NodeKey(machine, self._context(labels)), track)]
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
        """The machine that now reports to be this node, if it is the only one: its agent is of this version since."""
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
        named = dict(labels)
        return tuple((name, named[name]) for name in self.labels if name in named)


def _join_versions(run: RunHistory) -> None:
    """What an agent exported before it named parts is the part that it names since, if there is one."""
    for key in [key for key in run.members if not key.part]:
        since = [other for other in run.members if other.node == key.node and other.part]
        if len(since) == 1:
            run.members[since[0]].take(run.members.pop(key))


def _fits(pattern: str, text: str) -> bool:
    return not pattern or re.fullmatch(pattern, text) is not None


def _alternatives(windows: Mapping[str, tuple[int, int]]) -> Iterator[_Selection]:
    """Matchers that fit these runs and nothing else: those of one time together, so that each reads a short time."""
    piece: list[str] = []
    length = 0
    first, last = 0, -1
    for run in sorted(windows, key=lambda run: (*windows[run], run)):
        escaped = quoted(re.escape(run))[1:-1]
        if piece and length + len(escaped) >= _MOST_CHARACTERS:
            yield _Selection.of(piece, first, last)
            piece, length = [], 0
        begin, end = windows[run]
        first, last = (min(first, begin), max(last, end)) if piece else (begin, end)
        piece.append(escaped)
        length += len(escaped) + 1
    if piece:
        yield _Selection.of(piece, first, last)


def _newest(_: float, new: float) -> float:
    return new
