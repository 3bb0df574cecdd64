"""User names by uid: never awaited, never guessed."""

from __future__ import annotations

import os
import pwd
import threading

import pytest
from tests.waiting import wait_for

from epochcost.agent.user_names import UserNames, system_name


def test_a_name_is_empty_until_the_lookup_completes_and_nothing_waits_for_it():
    answered = threading.Event()

    def slow(number: int) -> str:
        answered.wait(30)
        return f"user{number}"

    names = UserNames(slow)
    assert names.of(1001) == ""
    answered.set()
    assert wait_for(lambda: names.of(1001), 10, "the name") == "user1001"


def test_each_user_is_looked_up_once():
    looked_up = []

    def lookup(number: int) -> str:
        looked_up.append(number)
        return ""

    names = UserNames(lookup)
    for _ in range(3):
        names.of(7)
    wait_for(lambda: looked_up, 10, "the question")
    assert (names.of(7), looked_up) == ("", [7])


@pytest.mark.parametrize("number", [None, -2, -1, 0])
def test_root_the_network_and_the_user_nobody_have_no_name(number):
    def never(number: int) -> str:
        raise AssertionError(number)

    assert UserNames(never).of(number) == ""


def test_the_cache_of_users_is_bounded():
    names = UserNames(lambda number: f"user{number}")
    for number in range(1, 1011):
        names.of(number)
    wait_for(lambda: names.of(1000) == "user1000", 10, "the last name that is kept")
    assert names.of(1005) == ""


def test_names_come_from_the_system():
    assert system_name(os.getuid()) == pwd.getpwuid(os.getuid()).pw_name
    assert system_name(2**31 - 7) == ""
    assert system_name(2**70) == ""
