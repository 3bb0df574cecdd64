from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from epochcost.guarded_collector import Guarded
from epochcost.serve import Request, metrics_route

log = logging.getLogger("test.guard")


class Whole:
    def collect(self):
        yield GaugeMetricFamily("whole_bytes", "d", 1.0)


class Breaking:
    """Fails part-way, as long as it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = OSError("driver gone")

    def collect(self):
        yield GaugeMetricFamily("part_one_bytes", "d", 1.0)
        if self.error:
            raise self.error
        yield GaugeMetricFamily("part_two_bytes", "d", 2.0)


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(Whole())
    return made


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
def test_metrics_are_written_in_the_format_asked_for(registry, accept, content_type, parse):
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


def test_a_collector_that_recovers_is_whole_again(registry):
    breaking = Breaking()
    guarded = Guarded(breaking, "gpus", log)
    guarded.collect()
    breaking.error = None
    assert [m.name for m in guarded.collect()] == ["part_one_bytes", "part_two_bytes"]
    assert (guarded.success, guarded.error) == (True, "")
