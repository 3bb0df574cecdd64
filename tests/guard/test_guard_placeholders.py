"""Arguments of a policy's command: unknown values are never filled in, and no argument becomes two."""

from __future__ import annotations

import pytest

from epochcost.guard.placeholders import PlaceholderError, filled

VALUES = {"run": "lm-7", "node": "n1", "reason": "idle for 1 h ($4.00)", "pids": ["41", "42"], "pod": ""}


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/bin/kill", "-TERM", "{pids}"], ["/bin/kill", "-TERM", "41", "42"]),
        (["/x", "--run={run}", "{node}/{run}"], ["/x", "--run=lm-7", "n1/lm-7"]),
        (["/x", "{reason}"], ["/x", "idle for 1 h ($4.00)"]),
    ],
    ids=["several", "within an argument", "blanks stay in one argument"],
)
def test_arguments_are_filled_in(argv: list[str], expected: list[str]) -> None:
    assert filled(argv, VALUES) == expected


@pytest.mark.parametrize("values", [{}, {"pids": []}, {"pids": "41"}], ids=["unknown", "none", "a string"])
def test_a_command_for_unknown_processes_is_not_run(values: dict[str, list[str] | str]) -> None:
    with pytest.raises(PlaceholderError, match=r"\{pids\} is not known here"):
        filled(["/bin/kill", "{pids}"], values)


@pytest.mark.parametrize("name", ["pod", "slurm_job", "pids"])
def test_a_command_with_an_empty_unknown_or_ambiguous_value_is_not_run(name: str) -> None:
    with pytest.raises(PlaceholderError, match="is not known here"):
        filled(["/x", f"--name={{{name}}}"], VALUES)
