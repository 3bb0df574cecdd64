"""A report over the day on which an agent was updated from the version that did not name its machine and the part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from epochcost.reports.history import History, NodeKey, PartKey, RunKey
from epochcost.reports.history_loader import HistoryLoader
from epochcost.reports.span import Span
from epochcost.reports.tracks import Reader
from epochcost.store.promql_client import Series

SPAN = Span(0.0, 3000.0, 10)
TARGET = {"job": "epochcost", "instance": "10.0.0.7:10835"}
NEW = {"epochcost_machine": "gpu-7-0a1b2c3d"}


@dataclass
class Stored:
    """Answers range queries over series that are listed: name, labels, and the value in each window."""

    series: list[tuple[str, Mapping[str, str], Mapping[int, float]]] = field(default_factory=list)
    url: str = "http://store"
    warnings: set[str] = field(default_factory=set)

    def add(self, name: str, windows: range, labels: Mapping[str, str], value: float = 1.0) -> None:
        self.series.append((name, {**TARGET, **labels}, dict.fromkeys(windows, value)))

    def count(self, name: str, windows: range, labels: Mapping[str, str]) -> None:
        """A second for each second since the start of the span."""
        self.series.append((name, {**TARGET, **labels}, {i: 300.0 * i for i in windows}))

    def over(self, query: str, start: float, end: float, step_seconds: float) -> list[Series]:
        asked = re.match(r"\w+\(epochcost_(\w+)\{", query)
        assert asked
        ended = re.search(r'state=~"([^"]+)"', query)
        return [
            Series(labels, [(i * step_seconds, v) for i, v in values.items() if start <= i * step_seconds <= end])
            for name, labels, values in self.series
            if name == asked[1] and (ended is None or re.fullmatch(ended[1], labels["state"]))
        ]


def run_of(store: Stored, windows: range, labels: Mapping[str, str]) -> None:
    """A run from the start of the span on that is seen in ``windows``."""
    named = {"run": "r", **labels}
    store.add("run_info", windows, {**named, "experiment": "lm"})
    store.add("run_start_timestamp_seconds", windows, named, 0.0)
    store.count("run_seconds_total", windows, named)
    store.count("run_state_seconds_total", windows, {**named, "state": "useful"})
    store.add("run_memory_peak_bytes", windows, named, 1.0 + windows[0])


def read(store: Stored) -> History:
    return HistoryLoader(Reader(store, SPAN, lambda *_: None), "", "", "", ()).read()


def test_an_updated_agent_goes_on_with_what_it_had_counted_before_it_named_the_part() -> None:
    store = Stored()
    store.add("node_info", range(6), {"node": "gpu-7"})
    store.add("node_info", range(6, 11), {"node": "gpu-7", **NEW})
    run_of(store, range(6), {})
    run_of(store, range(6, 11), {"part": "p1", **NEW})
    history = read(store)
    assert list(history.nodes) == [NodeKey(NEW["epochcost_machine"])]
    ((key, member),) = history.runs[RunKey("r")].members.items()
    assert key == PartKey(NodeKey(NEW["epochcost_machine"]), "p1")
    assert dict(member.counters["run_seconds_total"].items()) == {i: 300.0 * i for i in range(11)}
    assert dict(member.states["run_state_seconds_total", "useful"].items())[10] == 3000.0
    assert (member.started, member.memory_peak_bytes) == (0.0, 7.0)


def test_an_address_that_passes_to_another_machine_is_cut_where_it_does() -> None:
    store = Stored()
    store.add("node_info", range(5), {"node": "a"})
    store.add("node_info", range(5, 11), {"node": "b"})
    store.count("node_seconds_total", range(11), {"state": "idle"})
    history = read(store)
    seconds = {key.name: dict(node.seconds["idle"].items()) for key, node in history.nodes.items()}
    assert seconds == {"a": {i: 300.0 * i for i in range(5)}, "b": {i: 300.0 * i for i in range(5, 11)}}


def test_an_agent_whose_node_nobody_named_goes_by_its_address() -> None:
    store = Stored()
    store.add("node_info", range(11), {"node": "other", "instance": "10.0.0.8:10835"})
    run_of(store, range(11), {})
    history = read(store)
    assert history.nameless == {TARGET["instance"]}
    assert [key.node.name for key in history.runs[RunKey("r")].members] == [TARGET["instance"]]


def test_two_updated_agents_of_one_node_name_are_nobodys_earlier_series() -> None:
    store = Stored()
    store.add("node_info", range(4), {"node": "gpu-7"})
    for machine in ("gpu-7-aaaaaaaa", "gpu-7-bbbbbbbb"):
        store.add("node_info", range(4, 11), {"node": "gpu-7", "epochcost_machine": machine})
    history = read(store)
    assert sorted(key.name for key in history.nodes) == ["gpu-7", "gpu-7-aaaaaaaa", "gpu-7-bbbbbbbb"]


@pytest.mark.parametrize("state", ["finished", "lost"])
def test_how_a_run_ended_is_its_last_state(state: str) -> None:
    store = Stored()
    named = {"run": "r", "part": "p", **NEW}
    store.add("node_info", range(11), {"node": "gpu-7", **NEW})
    run_of(store, range(11), named)
    store.add("run_state", range(3, 5), {**named, "state": "preempted"})
    store.add("run_state", range(9, 11), {**named, "state": state})
    (member,) = read(store).runs[RunKey("r")].members.values()
    assert member.ended == (10, state)
