"""Sources take turns to compute, and release their turn while they wait for a server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from tests.prices.asking_http import NOW, api
from tests.prices.aws_price_list import PriceListServer, header, line
from tests.prices.aws_server import AwsPriceServer, product
from tests.prices.json_server import JsonServer, Reply

from epochcost.prices.aws.aws_bulk import AwsBulk
from epochcost.prices.aws.aws_on_demand import AwsOnDemand
from epochcost.prices.one_at_a_time import TURNS, Turns, computing
from epochcost.prices.price_source import PriceRequests, Want

SOON = 30.0
"""Seconds within which a thread of a test has long done what it is to do."""
P2 = PriceRequests(frozenset({Want("aws", "us-east-1", "p2.xlarge")}))


class Worker(threading.Thread):
    """Takes a turn, records it, and ends it when the test allows."""

    def __init__(self, turns: Turns) -> None:
        super().__init__(daemon=True)
        self.turns = turns
        self.has_it, self.may_end = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with self.turns.computing():
            self.has_it.set()
            assert self.may_end.wait(SOON)


def queued(turns: Turns, count: int) -> None:
    """Wait until this many threads wait for their turn."""
    pause = threading.Event()
    for _ in range(int(SOON * 1000)):
        if len(turns._queue) == count:
            return
        pause.wait(0.001)
    raise AssertionError(f"{len(turns._queue)} threads wait, not {count}")


def test_turns_are_taken_one_after_another_in_order_of_arrival() -> None:
    turns = Turns(SOON)
    workers = []
    for number in range(4):
        workers.append(Worker(turns))
        queued(turns, number) if number else workers[0].has_it.wait(SOON)
    for number, worker in enumerate(workers):
        assert worker.has_it.wait(SOON)
        assert not any(later.has_it.is_set() for later in workers[number + 1 :])
        worker.may_end.set()
        worker.join(SOON)


def test_a_source_waiting_for_a_server_releases_its_turn_and_takes_it_again() -> None:
    turns = Turns(SOON)
    with turns.computing():
        with turns.waiting():
            other = Worker(turns)
            assert other.has_it.wait(SOON)
            assert not turns.takes_turns
            other.may_end.set()
        assert turns.takes_turns
        third = Worker(turns)
        queued(turns, 1)
        assert not third.has_it.is_set()
        third.may_end.set()
    assert third.has_it.wait(SOON)


def test_the_wait_for_an_endless_turn_is_bounded() -> None:
    turns = Turns(0.01)
    first = Worker(turns)
    assert first.has_it.wait(SOON)
    with turns.computing():  # beside the other
        assert first.is_alive()
    first.may_end.set()
    first.join(SOON)
    with turns.computing():
        assert turns.takes_turns


def test_a_turn_ends_with_an_error_too() -> None:
    turns = Turns(SOON)
    with pytest.raises(ValueError, match="x"), turns.computing():
        raise ValueError("x")
    with pytest.raises(ValueError, match="y"), turns.computing(), turns.waiting():
        raise ValueError("y")
    after = Worker(turns)
    assert after.has_it.wait(SOON)
    after.may_end.set()


def test_a_thread_without_a_turn_releases_none() -> None:
    turns = Turns(SOON)
    with turns.waiting():
        pass
    turns.resume()
    assert not turns.rest()
    with turns.computing(), turns.computing(), turns.waiting(), turns.waiting():
        assert not turns.takes_turns


def let_in(fetch: Callable[[], object], arrived: Callable[[], bool], release: Callable[[], object]) -> None:
    """Whether another computes while ``fetch`` waits for a server that does not respond."""
    completed: list[object] = []

    def fetch_in_turn() -> None:
        with computing():
            completed.append(fetch())
            assert TURNS.takes_turns

    fetching = threading.Thread(target=fetch_in_turn, daemon=True)
    fetching.start()
    pause = threading.Event()
    for _ in range(int(SOON * 100)):
        if arrived():
            break
        pause.wait(0.01)
    other = Worker(TURNS)
    assert other.has_it.wait(SOON)
    other.may_end.set()
    other.join(SOON)
    release()
    fetching.join(SOON)
    assert completed
    assert TURNS._holder is None


def test_another_computes_while_boto3_waits(aws: AwsPriceServer) -> None:
    aws.products = [product("p2.xlarge", "us-east-1", 0.9)]
    aws.hold.clear()
    let_in(lambda: AwsOnDemand(frozenset(), 86400.0).fetch(P2, NOW), lambda: bool(aws.requests), aws.hold.set)


def test_another_computes_while_a_json_api_is_awaited(server: JsonServer) -> None:
    release = threading.Event()
    server.on("/x", Reply({"a": 1}, hold=release))
    let_in(lambda: api("x").get(f"{server.url}/x"), lambda: bool(server.requests), release.set)


def test_another_computes_between_the_pieces_of_a_long_list() -> None:
    go_on = threading.Event()
    head, row = header().encode(), line("0.9", **{"Instance Type": "p2.xlarge"}).encode()

    def pieces() -> Iterator[bytes]:
        yield head
        assert go_on.wait(SOON)
        yield row

    server = PriceListServer(pieces)
    server.length = len(head) + len(row)
    try:
        let_in(lambda: AwsBulk(server.url, frozenset(), 86400.0).fetch(P2, NOW), lambda: bool(server.paths), go_on.set)
    finally:
        server.stop()
