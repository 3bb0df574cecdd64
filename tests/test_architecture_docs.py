"""The walkthroughs of docs/architecture.md lead to places that exist, each called from where the text says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PLACE = re.compile(r"`([\w./-]+\.(?:py|yml))(?::([\w.]+))?`")
SERIES = re.compile(r"`((?:\w+:)?epochcost_\w+(?::\w+)?)`")
PLACES = sorted({(match[1], match[2] or "") for match in PLACE.finditer(TEXT)})

WALKS = {
    "From reading a price to showing it on a dashboard": [
        ("poller/schedule.py:Schedule.start", "poller/app.py"),
        ("poller/source_poller.py:SourcePoller.refresh", "poller/schedule.py:Schedule._refresh"),
        ("prices/price_source.py:Source.fetch", "poller/source_poller.py:SourcePoller._attempt"),
        ("prices/aws/aws_spot.py:AwsSpot.fetch", "poller/source_poller.py:SourcePoller._attempt"),
        ("prices/store.py:PriceStore.put", "poller/source_poller.py:SourcePoller._attempt"),
        ("prices/plausibility.py:judge", "prices/store.py:PriceStore._judge"),
        ("poller/collector.py:price_metrics", "poller/collector.py"),
        ("poller/api.py:price_route", "poller/app.py"),
        ("agent/price_feed.py:PriceFeed._ask", "asking_thread.py:AskingThread.ask"),
        ("prices/remote.py:RemotePrice.fetch", "agent/price_feed.py:PriceFeed._ask"),
        ("agent/price_dates.py:PriceDates.on_timeline", "agent/price_feed.py:PriceFeed._dated"),
        ("agent/meter.py:Meter.account", "agent/sampling_loop.py:SamplingLoop.tick"),
        ("ledger/ledger.py:Ledger.set_price", "agent/meter.py:Meter.account"),
        ("agent/collectors/node.py", ""),
        ("prometheus/build/price_rules.py", ""),
        ("grafana/build/fleet_tables.py:nodes", "grafana/build/fleet_board.py"),
    ],
    "From a training step to an alert": [
        ("training/run_loops.py:RunLoops.step", "training/run_loops.py:RunLoops.batches"),
        ("training/event_emitter.py:EventEmitter.progress", "training/run_life.py:RunLife._progress"),
        ("training/writer.py:EventWriter.put", "training/event_emitter.py:EventEmitter.progress"),
        ("agent/sampling_loop.py:SamplingLoop.tick", "agent/sampling_loop.py:SamplingLoop._sample"),
        ("progress/event_files.py:EventFiles.poll", "progress/event_sources.py:EventSources.poll"),
        ("progress/event_reader.py:EventReader", "progress/event_files.py:EventFiles"),
        ("progress/parse.py:parse_line", "progress/event_reader.py:EventReader._take"),
        ("progress/clock.py:NodeClock.event_time", "progress/event_reader.py:EventReader._accept"),
        ("agent/meter.py:Meter.account", "agent/sampling_loop.py:SamplingLoop.tick"),
        ("ledger/ledger.py:Ledger.advance", "agent/meter.py:Meter.account"),
        ("ledger/ledger.py:Ledger.apply", "agent/meter.py:Meter.account"),
        ("ledger/run.py:RunAccount.take", "ledger/ledger.py:Ledger.apply"),
        ("ledger/epochs.py:Epochs.state_at", "ledger/ledger.py:Ledger._run_state"),
        ("agent/sampling_loop.py:SamplingLoop.snapshot", "agent/app.py:AgentApp"),
        ("agent/meter.py:Meter.describe", "agent/sampling_loop.py:SamplingLoop._described"),
        ("agent/collectors/run.py", ""),
        ("prometheus/build/alerts/epochcost-alerts.yml", ""),
        ("prometheus/build/run_rules.py", ""),
        ("prometheus/build/part_rules.py", ""),
    ],
    "From a GPU sample to the dollars of a state": [
        ("gpus/sampler.py:Sampler._sample", "gpus/sampler.py:Sampler._run"),
        ("gpus/gpu_source.py:GpuSource.read", "gpus/sampler.py:Sampler._sample"),
        ("gpus/nvml/nvml_source.py:NvmlSource.read", "gpus/sampler.py:Sampler._sample"),
        ("gpus/nvml/nvml_gpu.py:GpuHandle.read", "gpus/nvml/nvml_worker.py:PollRound"),
        ("agent/sampling_loop.py:SamplingLoop._inputs", "agent/sampling_loop.py:SamplingLoop.tick"),
        ("agent/device_activity.py:devices_of", "agent/meter.py:Meter.account"),
        ("agent/meter.py:Meter.account", "agent/sampling_loop.py:SamplingLoop.tick"),
        ("ledger/ledger.py:Ledger.advance", "agent/meter.py:Meter.account"),
        ("ledger/attribution.py:split_between_runs", "ledger/ledger.py:Ledger._enter"),
        ("ledger/attribution.py:state_without_run", "ledger/ledger.py:Ledger._without_run"),
        ("ledger/node_ledger.py:NodeLedger.add", "ledger/ledger.py:Ledger._enter"),
        ("ledger/price.py:PriceTrack.integral", "ledger/node_ledger.py:NodeLedger.add"),
    ],
    "From a scrape to its response": [
        ("serve/server.py:Server._begin", "serve/server.py:Server._accept"),
        ("serve/places.py:Places.take", "serve/server.py:Server._begin"),
        ("serve/connection.py:Connection._exchange", "serve/connection.py:Connection.run"),
        ("serve/messages.py:parse_head", "serve/connection.py:Connection._exchange"),
        ("serve/addressed.py:misdirected", "serve/connection.py:Connection._exchange"),
        ("serve/web_config.py:WebConfig.refusal", "serve/server.py:Server._admit"),
        ("serve/server.py:Server._route", "serve/server.py:Server._answer"),
        ("serve/metrics.py:metrics_route", "agent/agent_server.py:AgentServer"),
        ("guarded_collector.py:Guarded.collect", "serve/metrics.py:metrics_route"),
        ("agent/collectors/__init__.py:collectors", "agent/agent_server.py:AgentServer"),
        ("agent/sampling_loop.py:SamplingLoop.snapshot", "agent/app.py:AgentApp"),
        ("serve/exposition.py:written", "serve/metrics.py:metrics_route"),
        ("serve/messages.py:render", "serve/connection.py:Connection._send"),
    ],
    "From `epochcost report` to its table": [
        ("reports/app.py:run", "cli.py"),
        ("reports/several_stores.py:connect_all", "reports/app.py:run"),
        ("reports/report.py:make", "reports/app.py:run"),
        ("reports/history_loader.py:HistoryLoader.read", "reports/report.py:make"),
        ("reports/tracks.py:Reader.pieces", "reports/tracks.py:Reader.tracks"),
        ("store/promql_client.py:Prometheus.over", "reports/tracks.py:Reader._piece"),
        ("http_client/http_exchange.py:ask", "store/promql_client.py:Prometheus._answer"),
        ("reports/runs.py:row", "reports/report.py:_rows"),
        ("reports/rows.py:grouped", "reports/report.py:make"),
        ("reports/text.py:terminal", "reports/app.py:_shaped"),
        ("reports/app.py", ""),
    ],
}
"""The places of each walkthrough in their order, and where each is called; of a file without a function, nowhere."""
CALLS = sorted({(place, caller) for places in WALKS.values() for place, caller in places if caller})


def walks_in(text: str) -> dict[str, str]:
    body = text.partition("## Walkthroughs")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\*\*(From .+?)\*\*$(.*?)(?=^\*\*From|\Z)", body, re.MULTILINE | re.DOTALL))


def places_in(text: str) -> list[str]:
    return [match[0].strip("`") for match in PLACE.finditer(text)]


def found(name: str) -> Path | None:
    places = (ROOT / "exporter" / "epochcost" / name, ROOT / name)
    return next((path for path in places if path.is_file()), None)


def definition(file: str, function: str) -> ast.AST:
    path = found(file)
    assert path is not None, f"no file {file}"
    node: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    for name in filter(None, function.split(".")):
        defined = [
            each
            for each in ast.iter_child_nodes(node)
            if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and each.name == name
        ]
        assert defined, f"no {name} in {file}"
        node = defined[-1]
    return node


@pytest.mark.parametrize(("file", "function"), PLACES, ids=lambda part: part or "whole")
def test_a_place_in_the_text_exists(file: str, function: str) -> None:
    if function:
        definition(file, function)
    assert found(file), f"no file {file}"


@pytest.mark.parametrize("walk", WALKS)
def test_the_text_leads_through_these_places_in_this_order(walk: str) -> None:
    assert places_in(walks_in(TEXT)[walk]) == [place for place, _ in WALKS[walk]]


def test_every_walkthrough_of_the_text_is_checked() -> None:
    assert list(walks_in(TEXT)) == list(WALKS)


@pytest.mark.parametrize(("place", "caller"), CALLS)
def test_a_place_is_called_from_there(place: str, caller: str) -> None:
    name = place.rpartition(":")[2].rpartition(".")[2]
    inside = list(ast.walk(definition(*caller.partition(":")[::2])))
    used = {each.id for each in inside if isinstance(each, ast.Name)}
    used |= {each.attr for each in inside if isinstance(each, ast.Attribute)}
    assert name in used, f"{caller} does not use {name}"


@pytest.mark.parametrize("walk", WALKS)
def test_the_series_named_in_a_step_are_in_a_file_of_that_step(walk: str) -> None:
    for step in re.split(r"^\d\. ", walks_in(TEXT)[walk], flags=re.MULTILINE):
        files = [found(match[1]) for match in PLACE.finditer(step)]
        texts = [file.read_text(encoding="utf-8") for file in files if file]
        for name in SERIES.findall(step):
            exported = f'"{name.removeprefix("epochcost_")}"'
            assert any(name in text or exported in text for text in texts), name
