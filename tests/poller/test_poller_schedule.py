"""When sources are asked: their own pace, back-off, no waiting for one another."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from tests.poller.sources import ToldSource, price
from tests.waiting import wait_for

from epochcost.poller.demand import KEEP_SECONDS, MOST, RequestedTypes, TooManyWantsError
from epochcost.poller.schedule import Schedule
from epochcost.prices.price_source import Catalogue, NotConfiguredError, PriceRequests, PriceSourceError, Want
from epochcost.prices.store import PriceStore

WANT = Want("aws", "us-east-1", "p2.xlarge")


def good(requests: PriceRequests, now: float) -> Catalogue:
    return Catalogue((price(0.9, at=now),))


def nothing(requests: PriceRequests, now: float) -> Catalogue:
    return Catalogue()


def failing(error: Exception) -> Callable[[PriceRequests, float], Catalogue]:
    def answer(requests: PriceRequests, now: float) -> Catalogue:
        raise error

    return answer


@contextmanager
def running(
    sources: Sequence[ToldSource], store: PriceStore | None = None, retry_seconds: float = 0.05
) -> Iterator[tuple[Schedule, PriceStore]]:
    used = store or PriceStore(None, [source.name for source in sources])
    schedule = Schedule(sources, used, time.time, retry_seconds)
    schedule.start()
    try:
        yield schedule, used
    finally:
        schedule.stop()


def test_every_source_is_asked_at_once_and_then_at_its_own_pace() -> None:
    quick = ToldSource(good, name="quick", refresh_seconds=0.1)
    slow = ToldSource(good, name="slow", refresh_seconds=3600.0)
    with running([quick, slow]) as (schedule, store):
        wait_for(lambda: len(quick.questions) >= 4, what="four questions to the quick source")
        assert len(slow.questions) == 1
        assert schedule.health["quick"].success is True
        assert store.merged.prices


def test_a_source_that_hangs_delays_neither_another_one_nor_the_end() -> None:
    release = threading.Event()

    def hang(requests: PriceRequests, now: float) -> Catalogue:
        release.wait(30)
        return Catalogue()

    hung = ToldSource(hang, name="hung", refresh_seconds=0.1)
    quick = ToldSource(good, name="quick", refresh_seconds=0.1)
    try:
        with running([hung, quick]) as (schedule, _):
            wait_for(lambda: len(quick.questions) >= 5, what="five questions beside a hung source")
            assert len(hung.questions) == 1  # never two at once
            assert schedule.health["hung"].duration_seconds is None
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert hung.threads.isdisjoint(quick.threads)
    finally:
        release.set()


def test_what_a_source_answers_after_the_end_is_thrown_away() -> None:
    entered, release = threading.Event(), threading.Event()

    def late(requests: PriceRequests, now: float) -> Catalogue:
        entered.set()
        release.wait(30)
        return Catalogue((price(0.9),))

    source = ToldSource(late)
    with running([source]) as (_, store):
        assert entered.wait(10)
    release.set()
    name = next(iter(source.threads))
    wait_for(lambda: name not in {thread.name for thread in threading.enumerate()}, what="the end of the thread")
    assert not store.merged.prices


def test_a_failure_is_counted_said_once_and_tried_again_soon(caplog: pytest.LogCaptureFixture) -> None:
    source = ToldSource(failing(PriceSourceError("told: HTTP 503 for everything")))
    with caplog.at_level(logging.INFO), running([source]) as (schedule, store):
        wait_for(lambda: schedule.health["told"].failures >= 3, what="three failures")
        assert schedule.health["told"].success is False
        assert caplog.text.count("HTTP 503 for everything") == 1
        source.answer = good
        wait_for(lambda: schedule.health["told"].success, what="a success after the failures")
        assert store.merged.prices
        assert schedule.health["told"].sentence == ""


def test_back_off_doubles() -> None:
    times: list[float] = []

    def fail(requests: PriceRequests, now: float) -> Catalogue:
        times.append(time.monotonic())
        raise PriceSourceError("no")

    with running([ToldSource(fail)], retry_seconds=0.1):
        wait_for(lambda: len(times) >= 4, what="four attempts")
    first, _, third = (later - earlier for earlier, later in itertools.pairwise(times))
    assert third > 2 * first  # 0.4 s after 0.1 s, each up to a tenth shorter


def test_a_source_that_breaks_in_an_unforeseen_way_is_a_failure_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    source = ToldSource(failing(RuntimeError("surprise")))
    with running([source]) as (schedule, _):
        wait_for(lambda: schedule.health["told"].failures >= 2, what="two failures")
        assert schedule.health["told"].sentence == "told: RuntimeError: surprise"
    assert "Traceback" in caplog.text


def test_a_source_without_configuration_is_skipped_neither_well_nor_badly(caplog: pytest.LogCaptureFixture) -> None:
    source = ToldSource(failing(NotConfiguredError("told: no key; set --told.key")))
    with caplog.at_level(logging.INFO), running([source]) as (schedule, _):
        wait_for(lambda: schedule.health["told"].sentence, what="the sentence")
        assert schedule.health["told"].success is None
        assert schedule.health["told"].failures == 0
    assert "price source skipped: told: no key; set --told.key" in caplog.text


def test_a_source_that_loses_its_configuration_has_failed_and_its_last_good_prices_stay() -> None:
    source = ToldSource(good, refresh_seconds=0.1)
    with running([source]) as (schedule, store):
        wait_for(lambda: store.merged.prices, what="the first prices")
        source.answer = failing(NotConfiguredError("told: credentials are gone"))
        wait_for(lambda: schedule.health["told"].success is False, what="the failure")
        assert store.merged.prices


def test_prices_with_a_problem_are_taken_and_count_as_a_failure() -> None:
    def troubled(requests: PriceRequests, now: float) -> Catalogue:
        return Catalogue((price(0.9),), problems=("told: one of two regions did not answer",))

    with running([ToldSource(troubled)]) as (schedule, store):
        wait_for(lambda: schedule.health["told"].failures, what="the failure")
        assert len(store.merged.prices) == 1
        assert schedule.health["told"].last_success_ts is None


def test_what_is_newly_asked_for_is_fetched_at_once_and_stays_wanted() -> None:
    def answer(requests: PriceRequests, now: float) -> Catalogue:
        return Catalogue(tuple(price(1.0, instance_type=want.instance_type) for want in requests.items))

    watched = Want("aws", "us-east-1", "watched.large")
    source = ToldSource(answer, refresh_seconds=1.0, watched=frozenset({watched}))
    with running([source]) as (schedule, store):
        wait_for(lambda: store.merged.prices, what="the watched type")
        lookup = schedule.ask(WANT)
        assert lookup.pending == ("told",)
        assert lookup.tried == ("told is being queried",)
        wait_for(lambda: len(store.merged.prices) == 2, seconds=5, what="the type that was asked for")
        assert PriceRequests(frozenset({WANT})) in source.questions  # only that, not everything again
        assert schedule.ask(WANT).pending == ()
        both = PriceRequests(frozenset({WANT, watched}))
        wait_for(lambda: both in source.questions, what="a refresh of both")
        assert len(store.merged.prices) == 2


def test_what_nobody_has_is_not_asked_for_again_and_again() -> None:
    source = ToldSource(nothing)
    with running([source]) as (schedule, _):
        wait_for(lambda: schedule.health["told"].success, what="the first answer")
        schedule.ask(WANT)
        wait_for(lambda: not schedule.ask(WANT).pending, what="the answer for the type")
        for _ in range(20):
            lookup = schedule.ask(WANT)
        assert len(source.questions) == 2
        assert "told was queried 0 s ago and has none" in lookup.tried


def test_a_failed_question_says_what_went_wrong_and_is_tried_again() -> None:
    source = ToldSource(nothing)
    with running([source]) as (schedule, store):
        wait_for(lambda: schedule.health["told"].success, what="the first answer")
        source.answer = failing(PriceSourceError("told: HTTP 500"))
        schedule.ask(WANT)
        wait_for(lambda: schedule.ask(WANT).tried == ("told: HTTP 500",), what="the reason")
        source.answer = good
        wait_for(lambda: store.merged.prices, what="the price after a retry")


def test_many_questions_at_once_are_answered_together() -> None:
    source = ToldSource(nothing)
    with running([source]) as (schedule, _):
        wait_for(lambda: schedule.health["told"].success, what="the first answer")
        wants = [Want("aws", "us-east-1", f"x{n}.large") for n in range(200)]
        for want in wants:
            schedule.ask(want)
        wait_for(lambda: not any(schedule.ask(want).pending for want in wants), what="all answers")
        assert frozenset(wants) == frozenset().union(*(question.items for question in source.questions))


def test_a_provider_that_no_source_covers_is_said_at_once() -> None:
    with running([ToldSource(nothing)]) as (schedule, _):
        assert schedule.ask(Want("gcp", "us-east1", "a2")).tried == ("no source has prices of gcp",)
        assert schedule.ask(Want("", "", "x")).pending == ()


def test_after_a_restart_what_was_asked_for_is_still_wanted() -> None:
    store = PriceStore(None, ["told"])
    store.put("told", Catalogue((price(0.9),)), time.time())
    source = ToldSource(nothing)
    with running([source], store):
        wait_for(lambda: source.questions, what="the first question")
        assert source.questions[0].items == frozenset({WANT})


def test_a_want_is_kept_for_a_day_and_their_number_is_bounded() -> None:
    wants = RequestedTypes([WANT], 0.0)
    assert wants.current("aws", KEEP_SECONDS) == {WANT}
    assert wants.current("aws", KEEP_SECONDS + 1) == frozenset()
    for n in range(MOST):
        wants.touch(Want("aws", "r", f"{n}"), 0.0)
    with pytest.raises(TooManyWantsError, match="1000 other machine types"):
        wants.touch(WANT, 1.0)
    wants.touch(Want("aws", "r", "0"), 1.0)  # known ones may still be asked for
    wants.touch(WANT, KEEP_SECONDS + 0.5)  # and old ones make room


def test_what_is_asked_for_while_it_is_being_fetched_is_not_fetched_twice() -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(requests: PriceRequests, now: float) -> Catalogue:
        entered.set()
        release.wait(30)
        return Catalogue((price(0.9),))

    source = ToldSource(slow, watched=frozenset({WANT}))
    with running([source]) as (schedule, store):
        assert entered.wait(10)
        assert schedule.ask(WANT).pending == ("told",)
        release.set()
        wait_for(lambda: not schedule.ask(WANT).pending, what="the answer")
        assert store.merged.prices
        assert len(source.questions) == 1
