from __future__ import annotations

import logging
from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from epochcost.guarded_collector import Guarded
from epochcost.serve import Request, metrics_route
from epochcost.serve.messages import http_date
from epochcost.serve.metrics import PLAIN, format_of

log = logging.getLogger("test.guard")


class Whole:
    def collect(self):
        yield GaugeMetricFamily("whole_bytes", "d", 1.0)


class Breaking:
    """Fails part-way, as long as the test sets it to."""

    def __init__(self) -> None:
        self.error: Exception | None = OSError("driver gone")

    def collect(self):
        yield GaugeMetricFamily("part_one_bytes", "d", 1.0)
        if self.error:
            raise self.error
        yield GaugeMetricFamily("part_two_bytes", "d", 2.0)


@pytest.fixture
def registry() -> CollectorRegistry:
    it = CollectorRegistry()
    it.register(Whole())
    return it


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8", parse_text),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", parse_text),
        ("text/plain;version=1.0.0;escaping=underscores;q=0.5", "text/plain; version=1.0.0", parse_text),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.2",
            "application/openmetrics-text; version=1.0.0",
            parse_openmetrics,
        ),
        ("application/openmetrics-text;version=rubbish", "text/plain; version=0.0.4; charset=utf-8", parse_text),
    ],
)
def test_metrics_are_written_in_the_requested_format(registry, accept, content_type, parse):
    response = metrics_route(registry)(Request("/metrics", headers={"accept": accept}))
    assert response.status == 200
    assert response.content_type.startswith(content_type)
    assert [family.name for family in parse(response.body.decode())] == ["whole_bytes"]


def test_a_collector_that_fails_part_way_is_absent_and_the_others_are_served(registry, caplog):
    guarded = Guarded(Breaking(), "gpus", log)
    registry.register(guarded)
    assert guarded.success is None
    body = metrics_route(registry)(Request("/metrics")).body
    assert b"whole_bytes 1.0" in body
    assert b"part_one" not in body
    assert (guarded.success, guarded.error) == (False, "OSError: driver gone")
    assert guarded.duration_seconds >= 0


def test_a_lasting_failure_is_logged_once_and_a_new_one_again(registry, caplog):
    breaking = Breaking()
    guarded = Guarded(breaking, "gpus", log)
    for _ in range(3):
        guarded.collect()
    breaking.error = ValueError("other")
    guarded.collect()
    assert [r.getMessage() for r in caplog.records] == [
        "collector gpus failed, its metrics are absent: OSError: driver gone",
        "collector gpus failed, its metrics are absent: ValueError: other",
    ]


def test_a_collector_that_recovers_is_complete_again(registry):
    breaking = Breaking()
    guarded = Guarded(breaking, "gpus", log)
    guarded.collect()
    breaking.error = None
    assert [m.name for m in guarded.collect()] == ["part_one_bytes", "part_two_bytes"]
    assert (guarded.success, guarded.error) == (True, "")


KINDS = ("application/openmetrics-text", "text/plain", "*/*", "text/html", "", " text/plain ", "application/json")
VERSIONS = ("1.0.0", "0.0.4", "0.0.1", "1.0", "2.0.0", "1", "", "x", "1.x", "1.0.0 ", "\u00b2", "+1")
TOKENS = (
    *(f"version={v}" for v in VERSIONS),
    *(f"escaping={e}" for e in ("underscores", "allow-utf-8", "dots", "values", "", "x")),
    *("q=0.5", "charset=utf-8", "version", "=", " version=1.0.0", "version =1.0.0", "version=1.0.0=2"),
)
ACCEPTED = st.tuples(st.sampled_from(KINDS), st.lists(st.sampled_from(TOKENS), max_size=4)).map(
    lambda one: ";".join((one[0], *one[1]))
)


@given(st.lists(ACCEPTED, max_size=4).map(",".join) | st.text(max_size=40))
@example("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.2")
def test_an_accept_header_is_interpreted_as_by_prometheus_client(accept):
    chosen = format_of(accept)
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):
        assert chosen.content_type == PLAIN
        return
    keywords = getattr(encode, "keywords", {})
    assert chosen.content_type == content_type
    assert chosen.open_metrics == ("openmetrics" in getattr(encode, "func", encode).__module__)
    assert chosen.escaped == (keywords.get("escaping") in {"dots", "values"})


@pytest.mark.parametrize("escaping", ["dots", "values", "underscores"])
def test_families_that_our_writer_does_not_support_are_written_by_prometheus_client(registry, escaping):
    class Odd:
        def collect(self):
            yield GaugeMetricFamily("with:colon", "d", 1.0)

    registry.register(Odd())
    accept = f"application/openmetrics-text;version=1.0.0;escaping={escaping}"
    encode, content_type = choose_encoder(accept)
    response = metrics_route(registry)(Request("/metrics", headers={"accept": accept}))
    assert (response.body, response.content_type) == (encode(registry), content_type)


@given(st.integers(0, 253402300799))
def test_a_date_is_written_as_module_email_writes_it(ts):
    assert http_date(ts) == formatdate(ts, usegmt=True)
