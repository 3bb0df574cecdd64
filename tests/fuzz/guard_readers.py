"""Readers of the guard: keep files of users, policies, and the saved state of an earlier agent."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.fuzz.reader import Reader

from epochcost.agent.device_activity import Idle
from epochcost.agent.guard_observation import Observer
from epochcost.agent.keep_route import keep_route
from epochcost.guard.engine import Guard
from epochcost.guard.keep_files import KeepFileError, wish_of
from epochcost.guard.keeps import KeepList
from epochcost.guard.located_yaml import PolicyError, parsed
from epochcost.guard.policy import PolicySet
from epochcost.guard.policy_file import policies
from epochcost.serve import Request

WRONG = (LookupError, TypeError, ValueError, AttributeError, RecursionError)


def _keep_file(data: bytes) -> None:
    wish = wish_of(data.decode())
    assert 60 <= wish.seconds <= 30 * 86400
    assert wish.why.isprintable()
    assert wish.subject.isprintable()


def _policy(data: bytes) -> None:
    for policy in policies(parsed(data.decode("utf-8", "replace"), "guard.yml")).policies:
        assert policy.when.for_seconds >= 5
        assert policy.ladder
        assert all(step.command is None or step.command.argv[0].startswith("/") for step in policy.ladder)


def _state(data: bytes) -> None:
    Guard(PolicySet()).restore(json.loads(data))


def _promises(data: bytes) -> None:
    document = json.loads(data)
    Guard(PolicySet()).keep_promises(document["guard"], 1.0)
    Observer(Idle()).restore(document["seen"], 1.0)


def _request(data: bytes) -> None:
    keeps: list[tuple[str, float, str]] = []

    def keep(subject: str, link: str, seconds: float, why: str, now: float) -> str:
        assert not KeepList().proves(subject, link, now)
        keeps.append((subject, seconds, why))
        return ""

    response = keep_route(keep, lambda: 0.0)(Request("/v1/keep", method="POST", body=data))
    assert response.status in (200, 400)
    assert all(60 <= seconds <= 30 * 86400 and why.isprintable() for _, seconds, why in keeps)


KEEPS = (
    b'{"secret":"'
    + b"ab" * 32
    + b'","keeps":[{"key":"file keep.7","uid":7,"subject":"r","until_t":9.5,"by":"b","why":""}]}'
)
GOOD_POLICY = b"""
dry_run: false
actions_per_hour: 3
webhook: {url: "https://chat.example/x", timeout: 5s}
commands: {off: {command: [/sbin/poweroff, "{node}"], deadline: 1m}, cancel: {command: [/bin/x, "{run}"], scope: run}}
policies:
  - use: forgotten-machine
    command: off
    when: {for: 10m, from_usd: 0.5, hours: ["20:00-07:00"], days: [sat], timezone: UTC, owners: ["a*"]}
    except: {keep_files: [/x], interactive: 45m, busy_cpu: 0.25, teams: [b]}
    ladder: [tell, {step: ask, wait: 5m}, {step: stop, tries: 2, retry: 1m}]
  - {use: budget}
  - {name: p, when: {states: [past-session], session: 12h, for: 1m}, command: off, ladder: [stop]}
"""

GUARD_READERS: Mapping[str, Reader] = {
    "keep file": Reader(
        _keep_file, (KeepFileError, UnicodeDecodeError), (b"4h\n", b"14400s run=char-lm-31 a debugger\n", b"2d why\n")
    ),
    "policy of the guard": Reader(_policy, (PolicyError,), (GOOD_POLICY, b"policies: [{use: hung-run}]")),
    "state of the guard": Reader(
        _state, WRONG,
        (b'{"v":1,"keeps":' + KEEPS + b',"account":{"actions":[["p","stop","done",1]],"ended":[["p","done",2.5]],'
         b'"wasted":[["p","done",1]]},"acted":[1.5],"rest_watts":{"GPU-0":50.0},"users":[[1001,7.5]]}',),
    ),
    "promises of the guard": Reader(
        _promises, WRONG,
        (b'{"t":1,"wall_ts":1,"guard":{"v":1,"keeps":' + KEEPS + b',"users":[[7,1.5]],"blind":[9.5,"lost"]},'
         b'"seen":{"t":1.5,"no_room_t":null,"boot_ts":1,"gpus":["GPU-0"]}}',),
    ),
    "request to keep": Reader(
        _request,
        (),
        (
            b'{"subject":"r","link":"9.x","for":"4h","why":"w"}',
            b'{"subject":"\\ud800","link":"99999999.\\udfff","for":"4h","why":"\\ud800"}',
            b"[1]",
        ),
    ),
}  # fmt: skip
