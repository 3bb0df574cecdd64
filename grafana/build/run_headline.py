"""The top of the Run dashboard: state, cost of its epochs against usual, progress."""

from __future__ import annotations

from board import Grid
from charts import most_of, state_lanes
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import BigValueTextMode
from grafana_foundation_sdk.models.dashboard import Panel
from panels import (
    AMBER,
    CLOCK,
    GREEN,
    PLAIN,
    RATIO,
    SECONDS,
    USD,
    USD_PER_HOUR,
    VIOLET,
    About,
    Query,
    dial,
    figures,
    share_of_budget,
)
from selection import PART, once
from states import RUN_STATE_CODES, RUN_STATE_COLOURS, STATE_COLOURS, shown_as_code, words_for
from verdicts import DONE_ENOUGH, against_usual, times_usual

RUN = '{run="$run"}'
ACTIVE = f"part:epochcost_active:now{RUN}"
"""The parts that train now; after the end, those that ended it."""


def of(metric: str) -> str:
    """The figure of the chosen run."""
    return f"max({metric}{RUN})"


def newest(metric: str, also: str = "") -> str:
    """A raw figure of the parts that train now: a machine that the run has left may report its last one for a while."""
    return f"{metric}{RUN[:-1]}{also}}} and on ({PART}) {ACTIVE}"


def money(grid: Grid) -> None:
    grid.band(4, (5, _state()), (5, _verdict()), (5, _this_epoch()), (5, _last_epoch()), (4, _cost_so_far()))


CURRENT = f"""sum({once(PART, f"epochcost_run_current_epoch_cost_usd{RUN}")} and on ({PART}) {ACTIVE})
or
max({newest("epochcost_run_current_epoch_seconds")}) / 3600 * {of("run:epochcost_cost_usd_per_hour:sum")}"""
MEAN, LAST = of("run:epochcost_epoch_cost_usd:mean"), of("run:epochcost_epoch_cost_usd:last")
FINISHED = of("run:epochcost_epochs:finished")
DONE = f"max({newest('epochcost_run_current_epoch_ratio')})"
_LEADER = f"on ({PART}) {once(PART, f'epochcost_run_current_epoch_ratio{RUN}')}"
_RATE = "part:epochcost_cost_usd_per_hour:now"
AT_ONCE = f"""(max(
  {once(PART, f"epochcost_run_current_epoch_cost_usd{RUN}")}
  / on ({PART}) ({_RATE}{RUN} > 0)
  and on ({PART}) {ACTIVE}
  and {_LEADER}
) * {of("run:epochcost_cost_usd_per_hour:sum")}
or
{CURRENT})"""
"""This epoch's dollars on the machine that counts it, times the hourly cost of all over its own: machines are not
scraped at the same moment, and just after an epoch some still report the old one."""
THIS_TO_USUAL = f"""{AT_ONCE} / ({DONE} >= {DONE_ENOUGH}) / {MEAN}
or
{AT_ONCE} / {MEAN} > 1"""
"""Before enough of an epoch is done, it is only rated once it has cost more than a whole one."""
LAST_TO_USUAL = f"{LAST} / (({MEAN} * {FINISHED} - {LAST}) / ({FINISHED} - 1 >= 1))"
"""Against the mean of the epochs before it."""


def _state() -> Builder[Panel]:
    now = shown_as_code(RUN_STATE_CODES, f"({newest('epochcost_run_state')}) == 1")
    ended = RUN[:-1] + ', state=~"finished|failed|preempted"}'
    later = shown_as_code(RUN_STATE_CODES, f"last_over_time(epochcost_run_state{ended}[$__range]) == 1")
    gone = f"{RUN_STATE_CODES['lost']} * max(last_over_time(epochcost_run_info{RUN}[$__range]))"
    stalled = newest("epochcost_run_state", ', state="stalled"')
    silent = f"""time() - max({newest("epochcost_run_last_event_timestamp_seconds")})
and on ()
max({stalled}) == 1"""
    return figures(
        About(
            "State",
            "What the run does now: the worst state of its machines. For a run that is no longer reported, how it "
            "ended. For a stalled run, also the time since its last report.",
            "none",
            empty="No agent reports this run",
        ),
        Query(f"{now}\nor\n{later}\nor\n{gone}", "Run"),
        Query(silent, "Silent for"),
        filled=True,
        colour=STATE_COLOURS["stalled"],
        overrides={
            "Run": {"mappings": words_for(RUN_STATE_CODES, RUN_STATE_COLOURS)},
            "Silent for": {"unit": SECONDS, "decimals": 1},
        },
    ).text_mode(BigValueTextMode.VALUE)


def _verdict() -> Builder[Panel]:
    return figures(
        About(
            "Epoch vs. usual",
            "The cost of this epoch against the mean of the finished ones, and of the last epoch against the mean of "
            "those before it: lower below 0.8 times, higher from 1.25 times, far higher from 2 times. This epoch is "
            "rated once a tenth of it is done, or once it has cost more than a whole one.",
            "none",
            empty="Too early to tell",
        ),
        Query(THIS_TO_USUAL, "This epoch"),
        Query(LAST_TO_USUAL, "Last epoch"),
        overrides=dict.fromkeys(("This epoch", "Last epoch"), against_usual()),
    )


def _this_epoch() -> Builder[Panel]:
    return figures(
        About(
            "This epoch",
            "Dollars since the last epoch ended, summed over the nodes of the run; and the projected cost of the whole "
            "epoch (or its cost so far, if that is more) over the mean of the finished ones.",
            USD,
        ),
        Query(CURRENT, "So far"),
        Query(THIS_TO_USUAL, "Vs. usual"),
        overrides={"Vs. usual": times_usual()},
    )


def _last_epoch() -> Builder[Panel]:
    return figures(
        About(
            "Last epoch",
            "Cost of the newest finished epoch, an exact integral of the price kept by the agents; and that cost over "
            "the mean of the epochs before it.",
            USD,
        ),
        Query(LAST, "Dollars"),
        Query(LAST_TO_USUAL, "Vs. usual"),
        colour=GREEN,
        overrides={"Vs. usual": times_usual()},
    )


def _cost_so_far() -> Builder[Panel]:
    cost = f"""{of("run:epochcost_cost_usd:sum")}
or
max(last_over_time(run:epochcost_cost_usd:sum{RUN}[$__range]))"""
    return figures(
        About(
            "Cost so far",
            "All dollars of the run on all of its nodes, with every attempt and every wasted hour; for a run that is "
            "no longer reported, its final cost. If the run has a budget, the share of it that is spent.",
            USD,
        ),
        Query(cost, "Dollars"),
        Query(of("run:epochcost_budget_ratio:spent"), "Budget"),
        overrides={"Budget": share_of_budget()},
    )


def totals(grid: Grid) -> None:
    grid.band(4, (5, _mean()), (5, _projected_total()), (4, _spend()), (6, _wasted()), (4, _empty_memory()))


def _mean() -> Builder[Panel]:
    return figures(
        About(
            "Mean cost per epoch",
            "Finished: dollars of all finished epochs over their number. Useful: all dollars of the run, with "
            "start-up, idle time and lost work, over the epochs that count in the end.",
            USD,
        ),
        Query(MEAN, "Finished"),
        Query(of("run:epochcost_useful_epoch_cost_usd:mean"), "Useful"),
        colour=GREEN,
        overrides={"Useful": {"thresholds": {"mode": "absolute", "steps": [{"value": None, "color": AMBER}]}}},
    )


def _projected_total() -> Builder[Panel]:
    return figures(
        About(
            "Projected total",
            "Cost so far plus the mean cost per epoch for every epoch left; an estimate until the first epoch "
            "is finished. Time left: epochs left x the mean duration of an epoch.",
            USD,
        ),
        Query(of("run:epochcost_cost_usd:projected"), "Dollars"),
        Query(of("run:epochcost_eta_seconds:projected"), "Time left"),
        colour=VIOLET,
        overrides={"Time left": {"unit": CLOCK}},
    )


def _spend() -> Builder[Panel]:
    return figures(
        About("Spend now", "The run's share of the price of its nodes. Empty once it has ended.", USD_PER_HOUR),
        Query(of("run:epochcost_cost_usd_per_hour:sum"), "Spend now"),
    )


def _wasted() -> Builder[Panel]:
    waste = of("run:epochcost_waste_ratio:life")
    return figures(
        About(
            "Wasted so far",
            "Dollars of the run that did not go into useful training, and their share. Lost work is a part of "
            "them: epochs lost to a crash or a preemption x the mean cost per epoch.",
            USD,
        ),
        Query(waste, "Share"),
        Query(f"{waste} * {of('run:epochcost_cost_usd:sum')}", "Dollars"),
        Query(f"{of('run:epochcost_lost_work_usd:life')} > 0", "Lost work"),
        colour=AMBER,
        overrides={"Share": {"unit": RATIO, "decimals": 0}},
    )


def _empty_memory() -> Builder[Panel]:
    return figures(
        About(
            "Empty memory",
            "What a larger batch might save: as measured with other batch sizes of the experiment, else useful dollars "
            "an hour x (1 - peak memory / 90 % of the GPU's memory), at most the dollars of what is not busy. A "
            "potential, never part of the waste. Empty for runs without a GPU.",
            USD_PER_HOUR,
        ),
        Query(of("run:epochcost_underfill_usd_per_hour:potential"), "Potential"),
        colour=AMBER,
    )


def pace(grid: Grid) -> None:
    epoch, planned = (f"max({newest(metric)})" for metric in ("epochcost_run_epoch", "epochcost_run_epochs_planned"))
    grid.band(
        5,
        (4, dial(About("Progress", "Epochs done / planned epochs.", RATIO, 0), Query(f"{epoch} / {planned}", "Done"))),
        (
            4,
            figures(
                About("Epoch", "Position of the run in epochs, and the number of planned epochs.", "none"),
                Query(epoch, "Now"),
                Query(planned, "Planned"),
                overrides={"Now": {"decimals": 2}, "Planned": {"decimals": 0}},
            ),
        ),
        (16, _lane()),
    )


def _lane() -> Builder[Panel]:
    spent = (
        f"sum by (state) ({once(f'{PART}, state', f'rate(epochcost_run_state_seconds_total{RUN}[$__rate_interval])')})"
    )
    return state_lanes(
        About(
            "State over time",
            "The state that took most of the time of the run's machines: green where it trained.",
            PLAIN,
            empty="No agent reports this run",
        ),
        Query(most_of(spent), "run"),
    )
