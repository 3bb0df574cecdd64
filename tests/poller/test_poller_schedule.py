"""When sources are polled: their own interval, back-off, no waiting for one another."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from tests.poller.sources import ScriptedSource, price
from tests.waiting import wait_for

from epochcost.poller.demand import KEEP_SECONDS, MOST, RequestedTypes, TooManyWantsError
from epochcost.poller.schedule import Schedule
from epochcost.prices.price_source import Catalogue, NotConfiguredError, PriceRequests, PriceSourceError, Want
from epochcost.prices.store import PriceStore

WANT = Want("aws", "us-east-1", "p2.xlarge")


def good(requests: PriceRequests, now: float) -> Catalogue:
    return Catalogue((price(0.9, at=now),))


def empty(requests: PriceRequests, now: float) -> Catalogue:
    return Catalogue()


def failing(error: Exception) -> Callable[[PriceRequests, float], Catalogue]:
    def respond(requests: PriceRequests, now: float) -> Catalogue:
        raise error

    return respond


@contextmanager
def running(
    sources: Sequence[ScriptedSource], store: PriceStore | None = None, retry_seconds: float = 0.05
) -> Iterator[tuple[Schedule, PriceStore]]:
    price_store = store or PriceStore(None, [source.name for source in sources])
    schedule = Schedule(sources, price_store, time.time, retry_seconds)
    schedule.start()
    try:
        yield schedule, price_store
    finally:
        schedule.stop()


def test_every_source_is_polled_at_once_and_then_at_its_own_interval() -> None:
    quick = ScriptedSource(good, name="quick", refresh_seconds=0.1)
    slow = ScriptedSource(good, name="slow", refresh_seconds=3600.0)
    with running([quick, slow]) as (schedule, store):
        wait_for(lambda: len(quick.requests) >= 4, what="four questions to the quick source")
        assert len(slow.requests) == 1
        assert schedule.health["quick"].success is True
        assert store.merged.prices


def test_a_source_that_hangs_delays_neither_another_one_nor_the_end() -> None:
    release = threading.Event()

    def hang(requests: PriceRequests, now: float) -> Catalogue:
        release.wait(30)
        return Catalogue()

    hung = ScriptedSource(hang, name="hung", refresh_seconds=0.1)
    quick = ScriptedSource(good, name="quick", refresh_seconds=0.1)
    try:
        with running([hung, quick]) as (schedule, _):
            wait_for(lambda: len(quick.requests) >= 5, what="five questions beside a hung source")
            assert len(hung.requests) == 1  # never two at once
            assert schedule.health["hung"].duration_seconds is None
            started_at = time.monotonic()
        assert time.monotonic() - started_at < 5
        assert hung.threads.isdisjoint(quick.threads)
    finally:
        release.set()


def test_a_response_after_the_end_is_discarded() -> None:
    entered, release = threading.Event(), threading.Event()

    def late(requests: PriceRequests, now: float) -> Catalogue:
        entered.set()
        release.wait(30)
        return Catalogue((price(0.9),))

    source = ScriptedSource(late)
    with running([source]) as (_, store):
        assert entered.wait(10)
    release.set()
    name = next(iter(source.threads))
    wait_for(lambda: name not in {thread.name for thread in threading.enumerate()}, what="the end of the thread")
    assert not store.merged.prices


def test_a_failure_is_counted_logged_once_and_retried_soon(caplog: pytest.LogCaptureFixture) -> None:
    source = ScriptedSource(failing(PriceSourceError("scripted: HTTP 503 for everything")))
    with caplog.at_level(logging.INFO), running([source]) as (schedule, store):
        wait_for(lambda: schedule.health["scripted"].failures >= 3, what="three failures")
        assert schedule.health["scripted"].success is False
        assert caplog.text.count("HTTP 503 for everything") == 1
        source.respond = good
        wait_for(lambda: schedule.health["scripted"].success, what="a success after the failures")
        assert store.merged.prices
        assert schedule.health["scripted"].sentence == ""


def test_back_off_doubles() -> None:
    times: list[float] = []

    def fail(requests: PriceRequests, now: float) -> Catalogue:
        times.append(time.monotonic())
        raise PriceSourceError("no")

    with running([ScriptedSource(fail)], retry_seconds=0.1):
        wait_for(lambda: len(times) >= 4, what="four attempts")
    first, _, third = (later - earlier for earlier, later in itertools.pairwise(times))
    assert third > 2 * first  # 0.4 s after 0.1 s, each up to a tenth shorter


def test_an_unexpected_error_of_a_source_is_a_failure_and_polling_continues(caplog: pytest.LogCaptureFixture) -> None:
    source = ScriptedSource(failing(RuntimeError("surprise")))
    with running([source]) as (schedule, _):
        wait_for(lambda: schedule.health["scripted"].failures >= 2, what="two failures")
        assert schedule.health["scripted"].sentence == "scripted: RuntimeError: surprise"
    assert "Traceback" in caplog.text


def test_a_source_without_configuration_is_skipped_with_neither_success_nor_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = ScriptedSource(failing(NotConfiguredError("scripted: no key; set --scripted.key")))
    with caplog.at_level(logging.INFO), running([source]) as (schedule, _):
        wait_for(lambda: schedule.health["scripted"].sentence, what="the sentence")
        assert schedule.health["scripted"].success is None
        assert schedule.health["scripted"].failures == 0
    assert "price source skipped: scripted: no key; set --scripted.key" in caplog.text


def test_a_source_that_loses_its_configuration_has_failed_and_its_last_good_prices_stay() -> None:
    source = ScriptedSource(good, refresh_seconds=0.1)
    with running([source]) as (schedule, store):
        wait_for(lambda: store.merged.prices, what="the first prices")
        source.respond = failing(NotConfiguredError("scripted: credentials are gone"))
        wait_for(lambda: schedule.health["scripted"].success is False, what="the failure")
        assert store.merged.prices


def test_prices_with_a_problem_are_used_and_count_as_a_failure() -> None:
    def troubled(requests: PriceRequests, now: float) -> Catalogue:
        return Catalogue((price(0.9),), problems=("scripted: one of two regions did not answer",))

    with running([ScriptedSource(troubled)]) as (schedule, store):
        wait_for(lambda: schedule.health["scripted"].failures, what="the failure")
        assert len(store.merged.prices) == 1
        assert schedule.health["scripted"].last_success_ts is None


def test_a_newly_requested_type_is_fetched_at_once_and_stays_requested() -> None:
    def respond(requests: PriceRequests, now: float) -> Catalogue:
        return Catalogue(tuple(price(1.0, instance_type=want.instance_type) for want in requests.items))

    watched_type = Want("aws", "us-east-1", "watched.large")
    source = ScriptedSource(respond, refresh_seconds=1.0, watched=frozenset({watched_type}))
    with running([source]) as (schedule, store):
        wait_for(lambda: store.merged.prices, what="the watched type")
        lookup = schedule.ask(WANT)
        assert lookup.pending == ("scripted",)
        assert lookup.tried == ("scripted is being queried",)
        wait_for(lambda: len(store.merged.prices) == 2, seconds=5, what="the type that was asked for")
        assert PriceRequests(frozenset({WANT})) in source.requests  # only that, not everything again
        assert schedule.ask(WANT).pending == ()
        both = PriceRequests(frozenset({WANT, watched_type}))
        wait_for(lambda: both in source.requests, what="a refresh of both")
        assert len(store.merged.prices) == 2


def test_a_type_without_a_price_is_not_requested_repeatedly() -> None:
    source = ScriptedSource(empty)
    with running([source]) as (schedule, _):
        wait_for(lambda: schedule.health["scripted"].success, what="the first answer")
        schedule.ask(WANT)
        wait_for(lambda: not schedule.ask(WANT).pending, what="the answer for the type")
        for _ in range(20):
            lookup = schedule.ask(WANT)
        assert len(source.requests) == 2
        assert "scripted was queried 0 s ago and has none" in lookup.tried


def test_a_failed_request_reports_its_reason_and_is_retried() -> None:
    source = ScriptedSource(empty)
    with running([source]) as (schedule, store):
        wait_for(lambda: schedule.health["scripted"].success, what="the first answer")
        source.respond = failing(PriceSourceError("scripted: HTTP 500"))
        schedule.ask(WANT)
        wait_for(lambda: schedule.ask(WANT).tried == ("scripted: HTTP 500",), what="the reason")
        source.respond = good
        wait_for(lambda: store.merged.prices, what="the price after a retry")


def test_many_simultaneous_requests_are_fetched_together() -> None:
    source = ScriptedSource(empty)
    with running([source]) as (schedule, _):
        wait_for(lambda: schedule.health["scripted"].success, what="the first answer")
        types = [Want("aws", "us-east-1", f"x{n}.large") for n in range(200)]
        for want in types:
            schedule.ask(want)
        wait_for(lambda: not any(schedule.ask(want).pending for want in types), what="all answers")
        assert frozenset(types) == frozenset().union(*(request.items for request in source.requests))


def test_a_provider_without_a_source_is_reported_at_once() -> None:
    with running([ScriptedSource(empty)]) as (schedule, _):
        assert schedule.ask(Want("gcp", "us-east1", "a2")).tried == ("no source has prices of gcp",)
        assert schedule.ask(Want("", "", "x")).pending == ()


def test_after_a_restart_requested_types_are_still_requested() -> None:
    store = PriceStore(None, ["scripted"])
    store.put("scripted", Catalogue((price(0.9),)), time.time())
    source = ScriptedSource(empty)
    with running([source], store):
        wait_for(lambda: source.requests, what="the first question")
        assert source.requests[0].items == frozenset({WANT})


def test_a_request_is_kept_for_a_day_and_their_number_is_bounded() -> None:
    requested = RequestedTypes([WANT], 0.0)
    assert requested.current("aws", KEEP_SECONDS) == {WANT}
    assert requested.current("aws", KEEP_SECONDS + 1) == frozenset()
    for n in range(MOST):
        requested.touch(Want("aws", "r", f"{n}"), 0.0)
    with pytest.raises(TooManyWantsError, match="1000 other machine types"):
        requested.touch(WANT, 1.0)
    requested.touch(Want("aws", "r", "0"), 1.0)  # known ones may still be requested
    requested.touch(WANT, KEEP_SECONDS + 0.5)  # and old ones make room


def test_a_type_requested_while_it_is_fetched_is_not_fetched_twice() -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(requests: PriceRequests, now: float) -> Catalogue:
        entered.set()
        release.wait(30)
        return Catalogue((price(0.9),))

    source = ScriptedSource(slow, watched=frozenset({WANT}))
    with running([source]) as (schedule, store):
        assert entered.wait(10)
        assert schedule.ask(WANT).pending == ("scripted",)
        release.set()
        wait_for(lambda: not schedule.ask(WANT).pending, what="the answer")
        assert store.merged.prices
        assert len(source.requests) == 1
