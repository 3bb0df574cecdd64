"""Names of users by their numbers: never waited for, never guessed."""

from __future__ import annotations

import os
import pwd
import threading

import pytest
from tests.waiting import wait_for

from epochcost.agent.user_names import UserNames, system_name


def test_a_name_is_empty_until_the_directory_has_answered_and_nobody_waits_for_it():
    answer = threading.Event()

    def slow(number: int) -> str:
        answer.wait(30)
        return f"user{number}"

    names = UserNames(slow)
    assert names.of(1001) == ""
    answer.set()
    assert wait_for(lambda: names.of(1001), 10, "the name") == "user1001"


def test_the_directory_is_asked_once():
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
def test_root_the_network_and_nobody_have_no_name(number):
    def never(number: int) -> str:
        raise AssertionError(number)

    assert UserNames(never).of(number) == ""


def test_a_flood_of_users_is_not_remembered():
    names = UserNames(lambda number: f"user{number}")
    for number in range(1, 1011):
        names.of(number)
    wait_for(lambda: names.of(1000) == "user1000", 10, "the last name that is kept")
    assert names.of(1005) == ""


def test_the_system_says_what_it_knows():
    assert system_name(os.getuid()) == pwd.getpwuid(os.getuid()).pw_name
    assert system_name(2**31 - 7) == ""
    assert system_name(2**70) == ""
