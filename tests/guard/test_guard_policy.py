"""A policy file is read strictly: an error names file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.guard.seen import COMMANDS, FORGOTTEN, policy_set

from epochcost.guard.located_yaml import PolicyError
from epochcost.guard.policy import Condition, StepKind
from epochcost.guard.policy_file import read
from epochcost.guard.ready_policies import ABOUT, READY

POLICY = """
policies:
  - name: p
    when: {states: [stalled], for: 30m}
    ladder: [tell]
"""


def test_a_dry_run_is_the_default() -> None:
    assert [policy.dry_run for policy in policy_set(POLICY).policies] == [True]
    assert [policy.dry_run for policy in policy_set("dry_run: false" + POLICY).policies] == [False]
    assert policy_set("dry_run: false" + POLICY.replace("ladder", "dry_run: true\n    ladder")).policies[0].dry_run


@pytest.mark.parametrize("name", READY)
def test_each_ready_policy_is_a_policy_and_explained(name: str) -> None:
    (policy,) = policy_set(f"{COMMANDS}\npolicies: [{{use: {name}, command: off}}]").policies
    assert policy.name == name
    assert policy.dry_run
    assert policy.ladder[-1].kind is StepKind.STOP
    assert len(ABOUT[name]) > 200


def test_the_example_is_a_policy_file_in_dry_run() -> None:
    policy_set = read(Path(__file__).parents[2] / "examples" / "guard.yml")
    assert [policy.name for policy in policy_set.policies] == list(READY)
    assert all(policy.dry_run for policy in policy_set.policies)


def test_settings_of_a_file_override_a_ready_policy() -> None:
    (policy,) = policy_set(FORGOTTEN).policies
    assert policy.when.for_seconds == 600
    assert policy.when.conditions == (Condition.VACANT, Condition.FINISHED, Condition.HELD_IDLE)
    assert policy.ladder[1].wait_seconds == 300
    assert policy.ladder[-1].command is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("policies: []", "line 1: policies: contains no policy"),
        ("", "guard.yml: policies: contains no policy"),
        ("[1, 2]", "line 1: must be a mapping"),
        ("policies: {a: b}", "line 1: policies: must be a list"),
        (POLICY.replace("for: 30m", "far: 30m"), "line 4: policies[0].when.for: is needed"),
        (POLICY.replace("for: 30m", "for: 30m, fur: 1"), "line 4: policies[0].when.fur: unknown field; allowed: "),
        (POLICY.replace("30m", "30 minutes"), "line 4: policies[0].when.for: '30 minutes' is not valid"),
        (POLICY.replace("30m", "0s"), "line 4: policies[0].when.for: '0s' is not valid"),
        (POLICY.replace("stalled", "stalld"), "line 4: policies[0].when.states: 'stalld' is not valid: allowed:"),
        (POLICY.replace("[tell]", "[shout]"), "policies[0].ladder[0].step: 'shout' is not valid: allowed: tell, ask"),
        (POLICY.replace("[tell]", "[stop, tell]"), "the steps must go from mild to hard"),
        (POLICY.replace("[tell]", "[]"), "policies[0].ladder: is needed"),
        (POLICY.replace("name: p", "name: 'a b'"), "policies[0].name: 'a b' is not valid"),
        (POLICY.replace("name: p", "use: nothing"), "policies[0].use: 'nothing' is not valid: allowed: forg"),
        (POLICY + "polices: 1\n", "line 6: polices: unknown field"),
        (POLICY + "policies: 1\n", "line 6: policies: occurs twice"),
        (POLICY + "actions_per_hour: 0\n", "line 6: actions_per_hour: '0' is not valid"),
        (POLICY + "dry_run: maybe\n", "line 6: dry_run: 'maybe' is not valid: expected true or false"),
        (POLICY + "webhook: {timeout: 5s}\n", "line 6: webhook.url: is needed"),
        (POLICY + "webhook: {url: 'ftp://x'}\n", "line 6: webhook.url: 'ftp://x' is not valid"),
        (POLICY + "commands: {c: {command: reboot}}\n", "commands.c.command: must be a list of program and arguments"),
        (POLICY + "commands: {c: {command: [reboot]}}\n", "'reboot': the program must be an absolute path"),
        (POLICY + "commands: {c: {command: ['/x', '{rum}']}}\n", "{rum} is not known; allowed: {policy}"),
        (POLICY + "commands: {c: {command: ['/x', 'a{pids}']}}\n", "{pids} is replaced by several arguments"),
        (POLICY.replace("[tell]", "[{step: stop, command: c}]"), "'c' is not valid: a name in commands: none is"),
        (POLICY.replace("[stalled]", "[vacant]").replace("[tell]", "[stop]"), "stop of vacant needs a command"),
        (
            POLICY.replace("[stalled]", "[vacant]").replace("[tell]", "[{step: stop, command: cancel}]") + COMMANDS,
            "command cancel ends a run, but vacant concerns a machine",
        ),
        (POLICY.replace("[stalled]", "[vacant], runs: [x]"), "runs and experiments select runs"),
        (POLICY.replace("for: 30m", "for: 30m, session: 2h"), "session goes with the state past-session"),
        (POLICY.replace("for: 30m", "for: 30m, hours: ['8-9']"), "policies[0].when.hours: '8-9' is not valid"),
        (POLICY.replace("for: 30m", "for: 30m, hours: ['08:00-08:00']"), "policies[0].when.hours"),
        (POLICY.replace("for: 30m", "for: 30m, timezone: Mars"), "policies[0].when.timezone: 'Mars' is not valid"),
        (POLICY.replace("ladder", "except: {keep_files: [x]}\n    ladder"), "keep_files: 'x' is not valid: "),
        ("a: &a [1]\n" + "b: [*a, *a", "is not valid YAML"),
        ("policies: [\x00]", "is not valid YAML"),
        ("{" * 5000, "guard.yml"),
    ],
)  # fmt: skip
def test_an_error_names_line_and_field(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as raised:
        policy_set(text)
    assert message in str(raised.value)
    assert str(raised.value).startswith("guard.yml")


def test_a_document_that_expands_by_anchors_is_rejected() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(PolicyError, match="more than 10000 values"):
        policy_set("\n".join(lines))


def test_the_error_of_an_unreadable_file_has_the_reason(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read: No such file"):
        read(tmp_path / "none.yml")
    odd = tmp_path / "odd.yml"
    odd.write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="not UTF-8"):
        read(odd)
    odd.write_bytes(b"# " + b"x" * (1 << 20))
    with pytest.raises(PolicyError, match="longer than"):
        read(odd)
