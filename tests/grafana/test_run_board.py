"""The dashboard of a run: its state, the cost of its epochs, its reported metrics."""

from __future__ import annotations

import itertools

import pytest
from tests.grafana.answers import MANY, RUN, by, one, panel_query
from tests.grafana.scenarios import LENGTH
from tests.grafana.simulated_fleet import progress
from tests.grafana.simulated_prometheus import STEP_SECONDS, instant

from epochcost.model import RunState

pytestmark = pytest.mark.stack
BY_WEIGHT = ("finished", "training", "evaluating", "checkpointing", "startup", "replay", "preempted", "lost", "failed")
RUN_STATE_CODES = {state: code for code, state in enumerate((*BY_WEIGHT, "stalled"))}
"""As the board's words are numbered, from harmless to grave."""


class TestRunStatus:
    @pytest.mark.parametrize(
        ("run", "state"),
        [
            (RUN, RunState.TRAINING),
            ("diffusion-55", RunState.STALLED),
            ("resnet-12", RunState.FINISHED),
            ("vit-large-901", RunState.FAILED),
        ],
    )
    def test_its_state_is_still_shown_after_its_end(self, many, run, state):
        assert one(many, "run", "State", run=run) == RUN_STATE_CODES[state.value]

    def test_the_cost_of_a_failed_run_is_still_shown(self, many):
        cost = sum(node.run_cost("vit-large-901", LENGTH) for node in MANY.nodes)
        assert one(many, "run", "Cost so far", run="vit-large-901") == pytest.approx(cost)

    def test_the_epoch_of_a_stalled_run_is_far_more_expensive_and_its_silence_is_counted(self, many):
        run = next(r for r in MANY.runs if r.run == "diffusion-55")
        (desk,) = [n for n in MANY.nodes if any(s.run == run.run for s in n.stretches)]
        truth = progress(desk, run, LENGTH)
        marks = [100.0, *truth.ends]
        this = desk.run_cost(run.run, LENGTH) - desk.run_cost(run.run, marks[-1])
        mean = (desk.run_cost(run.run, marks[-1]) - desk.run_cost(run.run, marks[0])) / len(truth.ends)
        epoch_fraction = truth.position % 1
        assert one(many, "run", "Epoch vs. usual", run=run.run) == pytest.approx(this / epoch_fraction / mean, rel=1e-3)
        assert one(many, "run", "This epoch", "B", run=run.run) > 10
        assert one(many, "run", "State", "B", run=run.run) == pytest.approx(LENGTH - 17_500, abs=STEP_SECONDS)

    def test_an_epoch_that_has_begun_on_only_some_machines_does_not_look_cheap(self, many):
        query = panel_query("run", "Epoch vs. usual").filled(run=RUN)
        (rated,) = instant(many.url, query, many.now)
        counting = f'{{epochcost_machine=~"sim-a100-01-.*", run="{RUN}"}}'
        cost = "epochcost_run_current_epoch_cost_usd"
        before = query.replace(f'{cost}{{run="{RUN}", cluster=~".*"}}', cost + counting)
        assert before != query, "the other machine's dollars are those of a new epoch, next to nothing"
        (same,) = instant(many.url, before, many.now)
        assert float(same["value"][1]) == pytest.approx(float(rated["value"][1]))

    def test_the_last_epoch_is_compared_with_those_before_it(self, many):
        run = next(r for r in MANY.runs if r.run == RUN)
        ends = progress(MANY.nodes[0], run, LENGTH).ends
        cost = [sum(node.run_cost(RUN, t) for node in MANY.nodes) for t in (1200.0, *ends)]
        each = [b - a for a, b in itertools.pairwise(cost)]
        before = sum(each[:-1]) / len(each[:-1])
        assert one(many, "run", "Last epoch", "B") == pytest.approx(each[-1] / before, rel=0.01)

    def test_loss_and_tokens_are_the_reported_ones(self, many):
        run = next(r for r in MANY.runs if r.run == RUN)
        truth = progress(MANY.nodes[0], run, LENGTH)
        loss = by("metric", many, "run", "Reported metrics and cost")
        assert loss == pytest.approx({"loss": 2 / (1 + truth.executed)})
        tokens = 6.6 / 3600 * run.samples_per_epoch * 128
        assert one(many, "run", "Speed", "C") == pytest.approx(tokens, rel=1e-3)
