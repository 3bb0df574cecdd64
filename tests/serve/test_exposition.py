"""The text of /metrics is prometheus_client's own, byte for byte, however it is made."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, Info
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Exemplar
from tests.page.snapshots import cpu_only, eight_gpus, one_gpu, price_unknown

from epochcost.agent.collectors import collectors
from epochcost.serve import Request, metrics_route
from epochcost.serve.exposition import settled

FORMATS = (
    "",
    "text/plain;version=1.0.0;escaping=underscores",
    "text/plain;version=1.0.0;escaping=allow-utf-8",
    "text/plain;version=1.0.0;escaping=dots",
    "application/openmetrics-text",
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
    "application/openmetrics-text;version=1.0.0;escaping=values",
)
AWKWARD_TEXTS = ("", "plain", 'a "quoted" one', "back\\slash", "two\nlines", "\\n is no line end", "Größe 😀", "{}=,")
NUMBERS = (0.0, -0.0, 1, True, 0.1, 1e-9, 999_999.5, 1e6, 1_700_000_000.123, 1e21, -1e21, math.inf, -math.inf, math.nan)


class Fixed:
    """A collector of fixed families, which counts its collections."""

    def __init__(self, *metrics: Metric) -> None:
        self.metrics = metrics
        self.collections = 0

    def collect(self):
        self.collections += 1
        return self.metrics


def registry_of(*metrics: Metric) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Fixed(*metrics))
    return registry


def text_of(registry: CollectorRegistry, accept: str = "") -> bytes:
    return metrics_route(registry)(Request("/metrics", headers={"accept": accept})).body


def same_in_every_format(registry: CollectorRegistry) -> None:
    """Twice: the second time from the cache."""
    for accept in (*FORMATS, *FORMATS):
        encode, _ = choose_encoder(accept)
        assert text_of(registry, accept) == encode(registry), accept


def gauge(value: float, *, name: str = "fill_ratio", help: str = "How full.", **labels: str) -> Metric:  # noqa: A002
    family = GaugeMetricFamily(name, help, labels=tuple(labels))
    family.add_metric(list(labels.values()), value)
    return family


@pytest.mark.parametrize("value", NUMBERS)
def test_every_number(value):
    same_in_every_format(registry_of(gauge(value), gauge(value, name="other", gpu="0")))


@pytest.mark.parametrize("text", AWKWARD_TEXTS)
def test_every_text_as_label_and_as_help(text):
    same_in_every_format(registry_of(gauge(1.0, help=text, model=text, gpu="0")))


def test_every_kind_of_family_of_the_programs():
    counter = CounterMetricFamily("spent_usd", "Dollars.", labels=("state",))
    counter.add_metric(["idle"], 1.5)
    summary = SummaryMetricFamily("epoch_seconds", "Durations.", labels=("run",))
    summary.add_metric(["r"], 3, 12.5)
    same_in_every_format(registry_of(counter, summary, GaugeMetricFamily("with_bytes", "d", 3, unit="bytes")))
    same_in_every_format(registry_of())


@pytest.mark.parametrize("make", [one_gpu, eight_gpus, cpu_only, price_unknown], ids=lambda make: make.__name__)
def test_everything_that_the_agent_exports(make):
    snapshot = make()
    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors(lambda: snapshot).values():
        registry.register(collector)  # type: ignore[arg-type] # it is asked for nothing but `collect`
    assert b"epochcost_node_info" in text_of(registry)
    same_in_every_format(registry)


def test_labels_are_sorted_whatever_order_they_come_in():
    same_in_every_format(registry_of(gauge(1.0, zone="z", az="a", Region="r")))


def test_equal_values_under_other_labels_are_other_series():
    same_in_every_format(registry_of(gauge(1.0, gpu="0", uuid="1"), gauge(2.0, uuid="0", gpu="1"), gauge(3.0, a="0")))


def odd_metrics() -> list[Metric]:
    dated = GaugeMetricFamily("dated", "d", labels=("a",))
    dated.add_metric(["x"], 1.0, timestamp=1_700_000_000.5)
    marked = CounterMetricFamily("marked", "d", labels=("a",))
    marked.add_metric(["x"], 1.0, exemplar=Exemplar({"trace": "1"}, 1.0))
    created = CounterMetricFamily("begun", "d", labels=("a",), created=1.0)
    created.add_metric(["x"], 1.0, created=1.0)
    return [dated, marked, created, gauge(1.0, name="with:colon"), gauge(1.0, läbel="x"), gauge(1.0, name="ü")]


@pytest.mark.parametrize("metric", odd_metrics(), ids=lambda metric: metric.name)
def test_unusual_families(metric):
    same_in_every_format(registry_of(gauge(1.0, gpu="0"), metric))


def test_the_client_librarys_own_metrics():
    registry = CollectorRegistry()
    Counter("events", "d", ["kind"], registry=registry).labels("x").inc()
    Histogram("wait_seconds", "d", registry=registry).observe(0.3)
    Info("build", "d", registry=registry).info({"version": "1"})
    same_in_every_format(registry)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8), st.floats() | st.integers(-(2**70), 2**70))))
def test_any_labels_and_numbers(rows):
    family = GaugeMetricFamily("any", "d", labels=("a", "b"))
    for a, b, value in rows:
        family.add_metric([a, b], value)
    for accept in ("", "application/openmetrics-text;version=1.0.0"):
        encode, _ = choose_encoder(accept)
        registry = registry_of(family)
        try:
            expected = encode(registry)
        except UnicodeEncodeError:
            with pytest.raises(UnicodeEncodeError):
                text_of(registry, accept)
        else:
            assert text_of(registry, accept) == expected


@pytest.mark.parametrize("metric", [gauge(1.0), odd_metrics()[0]], ids=["ordinary", "odd"])
def test_a_scrape_collects_once(metric):
    fixed = Fixed(metric)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(fixed)
    text_of(registry)
    assert fixed.collections == 1


def test_a_settled_family_is_written_once_in_each_format_and_reads_the_same():
    family = settled(gauge(0.5, gpu="0"))
    registry = registry_of(family, gauge(2.0, name="other"))
    same_in_every_format(registry)
    family.samples.clear()  # breaks the contract, to show that nothing is rendered again
    assert b'fill_ratio{gpu="0"} 0.5\n' in text_of(registry)
    assert b'fill_ratio{gpu="0"} 0.5\n' in text_of(registry, "application/openmetrics-text")


def test_an_unusual_settled_family_is_left_to_the_client_library():
    family = settled(gauge(0.5))
    family.add_sample("other_name", {}, 1.0)
    same_in_every_format(registry_of(family))
