"""One report from several stores."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from tests.report.conftest import HistoryStore, run_of
from tests.report.worlds import FLEET

from epochcost.reports.report import make
from epochcost.reports.report_settings import ReportSettings
from epochcost.reports.several_stores import SeveralStores, connect_all
from epochcost.reports.span import span
from epochcost.settings import SettingsError
from epochcost.store.promql_client import Prometheus
from epochcost.store.store_error import StoreError

pytestmark = pytest.mark.stack
AN_HOUR = span(str(FLEET.epoch_ts + 7200), str(FLEET.epoch_ts + 10_800), FLEET.epoch_ts + 1e6)


def test_two_replicas_count_once(in_prometheus: HistoryStore, in_victoria: HistoryStore) -> None:
    settings = ReportSettings(prometheus_url=f"{in_prometheus.url}, {in_victoria.url},{in_prometheus.url}")
    store = connect_all(settings)
    assert isinstance(store, SeveralStores)
    both = make(store, settings, AN_HOUR, time.time(), lambda *_: None)
    one = make(Prometheus(in_prometheus.url), settings, AN_HOUR, time.time(), lambda *_: None)
    assert both.url == f"{in_prometheus.url}, {in_victoria.url}"
    assert both.fleet.nodes == one.fleet.nodes
    assert sum(both.fleet.usd.values()) == pytest.approx(sum(one.fleet.usd.values()), rel=1e-6)
    assert run_of(both, "char-lm-31").usd == pytest.approx(run_of(one, "char-lm-31").usd, rel=1e-6)


def test_an_empty_store_is_named_and_a_failing_one_fails_the_report(in_prometheus: HistoryStore, scripted) -> None:
    scripted.respond = lambda _form: (200, json.dumps({"status": "success", "data": {"result": []}}).encode())
    settings = ReportSettings(prometheus_url=f"{in_prometheus.url},{scripted.url}")
    report = make(connect_all(settings), settings, AN_HOUR, time.time(), lambda *_: None)
    assert any(f"{scripted.url} has no epochcost series in this period" in note for note in report.notes)
    scripted.respond = lambda _form: (500, b"no")
    with pytest.raises(StoreError, match="HTTP 500"):
        make(connect_all(settings), settings, AN_HOUR, time.time(), lambda *_: None)


def test_runs_of_one_id_in_two_clusters_are_named(in_prometheus: HistoryStore, scripted) -> None:
    far = {"metric": {"run": "char-lm-31", "epochcost_machine": "far-1"}, "values": [[AN_HOUR.begin, "1"]]}

    def respond(form: dict[str, list[str]]) -> tuple[int, bytes]:
        result = [far] if "run_info" in form["query"][0] else []
        return 200, json.dumps({"status": "success", "data": {"result": result}}).encode()

    scripted.respond = respond
    settings = ReportSettings(prometheus_url=f"{in_prometheus.url},{scripted.url}")
    report = make(connect_all(settings), settings, AN_HOUR, time.time(), lambda *_: None)
    (note,) = [note for note in report.notes if "different machines" in note]
    assert note.endswith("which count as one run: char-lm-31")


def test_each_address_is_checked(in_prometheus: HistoryStore) -> None:
    one = ReportSettings(prometheus_url=in_prometheus.url)
    assert isinstance(connect_all(one), Prometheus)
    with pytest.raises(SettingsError, match="is not valid"):
        connect_all(replace(one, prometheus_url=f"{in_prometheus.url},ftp://elsewhere"))
