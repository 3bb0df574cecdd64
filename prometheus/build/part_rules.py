"""The boundary: raw series of runs in, one series for each part of a run out, those that are gone included."""

from __future__ import annotations

from rule_text import Rule, record

STATES = """
    max by (PART, state) (epochcost_run_state_cost_usd_total)
    or
    (
      max by (PART, state) (
        epochcost_run_state_seconds_total unless on (PART, state) epochcost_run_state_cost_usd_total
      ) / 3600
      * on (MACHINE) group_left () node:epochcost_price_usd_per_hour:unified
    )
    or
    label_replace(max by (PART) (epochcost_run_provisional_cost_usd), "state", "unsettled", "", "")
    """
ON_DEMAND = """
    (
      max by (PART) (epochcost_run_state_seconds_total{state="useful"})
      or
      0 * part:epochcost_run_seconds:now
    ) / 3600
    * on (MACHINE) group_left () node:epochcost_on_demand_price_usd_per_hour:unified
    """
EPOCH_DOLLARS = """
    sum by (PART) (
      label_replace(max by (PART) (epochcost_run_epoch_cost_usd_sum), "of", "settled", "", "")
      or
      label_replace(max by (PART) (epochcost_run_provisional_epoch_cost_usd), "of", "provisional", "", "")
    )
    or
    (
      sum by (PART) (
        part:epochcost_state_cost_usd:kept
        and on (PART) (part:epochcost_run_seconds:now unless on (PART) epochcost_run_state_cost_usd_total)
      )
      * on (RUN) group_left ()
      max by (RUN) (
        max by (PART) (epochcost_run_epoch_seconds_sum)
        / on (PART) (part:epochcost_run_seconds:now > 0)
      )
    )
    """
FIGURES = {
    "epochcost_state_cost_usd": (
        STATES,
        "The agent's dollars; else its seconds x the price of now; and what may still change (no price confirmed yet).",
    ),
    "epochcost_on_demand_usd": (
        ON_DEMAND,
        "Useful hours at the price on demand: kept as dollars, since the price goes with the machine.",
    ),
    "epochcost_phase_seconds": ("max by (PART, phase) (epochcost_run_phase_seconds_total)", ""),
    "epochcost_epochs": ("max by (PART) (epochcost_run_epochs_total)", ""),
    "epochcost_position": ("max by (PART) (epochcost_run_useful_epochs)", ""),
    "epochcost_start_epoch": ("max by (PART) (epochcost_run_start_epoch)", ""),
    "epochcost_before_epochs": ("max by (PART) (epochcost_run_before_epochs)", ""),
    "epochcost_finished_epochs": ("max by (PART) (epochcost_run_finished_epochs)", ""),
    "epochcost_finished_timestamp_seconds": ("max by (PART) (epochcost_run_finished_timestamp_seconds)", ""),
    "epochcost_attempt_timestamp_seconds": (
        """
        max by (PART) (epochcost_run_attempt_timestamp_seconds)
        and on (RUN) part:epochcost_finished_timestamp_seconds:kept
        """,
        "When each part's newest attempt began, in runs of which a training has finished.",
    ),
    "epochcost_epoch_seconds": ("max by (PART) (epochcost_run_epoch_seconds_sum)", ""),
    "epochcost_epochs_finished": ("max by (PART) (epochcost_run_epoch_seconds_count)", ""),
    "epochcost_epoch_cost_usd": (
        EPOCH_DOLLARS,
        "Dollars of finished epochs; where an agent has none, the share of its run's time that finished epochs took.",
    ),
    "epochcost_steps": ("max by (PART) (epochcost_run_steps_total)", ""),
    "epochcost_tokens": ("max by (PART) (epochcost_run_tokens_total)", ""),
}
"""What is added up over parts: the raw expression, and a comment."""


def kept(name: str, raw: str, comment: str) -> Rule:
    """Figure ``raw`` of each part; of one that is gone the last, as long as its run is shown."""
    return record(
        f"part:{name}:kept",
        f"""
        {raw.strip()}
        or
        (
          (last_over_time(part:{name}:kept[2m]) and on (PART) part:epochcost_gone:now)
          or
          (last_over_time(part:{name}:archive[11m]) and on (PART) part:epochcost_gone:now)
        )
        """,
        comment,
    )


def archived(name: str) -> Rule:
    """The same in few samples, for a part that comes back after a pause."""
    return record(
        f"part:{name}:archive",
        f"""
        last_over_time(part:{name}:kept[20m])
        or
        (last_over_time(part:{name}:archive[1d]) and on (RUN) run:epochcost_reported:recent)
        """,
    )


KEPT = [
    record(
        "part:epochcost_run_seconds:now",
        "max by (PART) (epochcost_run_seconds_total)",
        "Each part that somebody reports, once, under whatever target labels and by however many replicas.",
    ),
    record("run:epochcost_reported:now", "max by (RUN) (part:epochcost_run_seconds:now) >= bool 0"),
    record(
        "run:epochcost_reported:recent",
        "last_over_time(run:epochcost_reported:now[10m])",
        "A pause of some minutes, while a run moves, forgets nothing.",
    ),
    record(
        "part:epochcost_run_seconds:kept",
        """
        part:epochcost_run_seconds:now
        or
        (
          (
            last_over_time(part:epochcost_run_seconds:kept[2m])
            or last_over_time(part:epochcost_run_seconds:archive[11m])
          )
          and on (RUN) run:epochcost_reported:recent
        )
        """,
        """
        All parts that are known of a run that is shown. One that is gone keeps its last figures, so that a run that
        moves on
        after a preemption takes its dollars and its epochs with it; after a pause they are found in the archive below.
        """,
    ),
    record(
        "part:epochcost_gone:now",
        "part:epochcost_run_seconds:kept unless on (PART) part:epochcost_run_seconds:now",
    ),
    *(kept(name, raw, comment) for name, (raw, comment) in FIGURES.items()),
]
WHO_COUNTS = [
    record(
        "part:epochcost_active:now",
        """
        max by (PART) (epochcost_run_node_share_ratio) > 0
        or
        (
          max by (PART) (epochcost_run_node_share_ratio)
          unless on (RUN) epochcost_run_node_share_ratio > 0
          unless on (PART) (
            max by (PART) (epochcost_run_last_event_timestamp_seconds)
            < on (RUN) group_left () (max by (RUN) (epochcost_run_last_event_timestamp_seconds) - 300)
          )
        )
        """,
        "Where the run trains now; after its end, where it ended. A machine that it has left may report it for a "
        "while.",
    ),
    record(
        "run:epochcost_leaders:now",
        """
        sum by (RUN) (
          max by (PART) (epochcost_run_leader) and on (PART) epochcost_run_node_share_ratio > 0
        )
        """,
        "On how many machines the run's progress is counted; known while it trains.",
    ),
    record(
        "run:epochcost_leaders:counting",
        """
        count by (RUN) (
          max by (PART) (increase(epochcost_run_epochs_total[10m])) > 0
          and on (PART) epochcost_run_leader == 1
          and on (PART) epochcost_run_node_share_ratio > 0
        )
        """,
    ),
    record(
        "run:epochcost_leaders:doubled",
        """
        (run:epochcost_leaders:counting > 1 and on (RUN) run:epochcost_leaders:counting offset 10m > 1)
        or
        (last_over_time(run:epochcost_leaders:doubled[10m]) and on (RUN) run:epochcost_reported:recent)
        """,
        "Two machines have counted the same epochs for ten minutes: what they counted stays too much for good.",
    ),
]
TRAININGS = [
    record(
        "part:epochcost_training_over:now",
        """
        part:epochcost_position:kept
        and on (RUN) part:epochcost_finished_timestamp_seconds:kept
        unless on (PART) (
          part:epochcost_attempt_timestamp_seconds:kept
          > on (RUN) group_left ()
          max by (RUN) (part:epochcost_finished_timestamp_seconds:kept)
        )
        """,
        "A training that begins after one under its id has finished is new work, on whatever machine it is. These "
        "parts have no attempt since.",
    ),
    record(
        "part:epochcost_training_epochs:now",
        """
        (
          part:epochcost_position:kept - on (PART) part:epochcost_before_epochs:kept
          or on (PART) part:epochcost_position:kept
        )
        unless on (PART) part:epochcost_training_over:now
        """,
        "How far each part has come in the training that runs.",
    ),
    record(
        "run:epochcost_training_epochs:useful",
        """
        max by (RUN) (part:epochcost_training_epochs:now)
        - on (RUN)
        (
          min by (RUN) (
            (
              (part:epochcost_finished_epochs:kept - on (PART) part:epochcost_before_epochs:kept)
              or on (PART) part:epochcost_finished_epochs:kept
              or on (PART) part:epochcost_start_epoch:kept
            )
            and on (PART) part:epochcost_training_epochs:now
          )
          or 0 * max by (RUN) (part:epochcost_training_epochs:now)
        )
        """,
        "Of it, what did not have to be done again.",
    ),
    record(
        "run:epochcost_finished_epochs:useful",
        """
        (
          sum by (RUN) (part:epochcost_finished_epochs:kept)
          > on (RUN) max by (RUN) (part:epochcost_training_over:now)
          or on (RUN)
          max by (RUN) (part:epochcost_training_over:now)
          or on (RUN)
          sum by (RUN) (part:epochcost_finished_epochs:kept)
        )
        - on (RUN)
        min by (RUN) (part:epochcost_start_epoch:kept)
        """,
        "The same of the trainings that have finished.",
    ),
]
HISTORY = [
    record(
        "run:epochcost_leaders:unclear",
        "run:epochcost_leaders:now != 1 or run:epochcost_leaders:doubled",
        "Two that count, or none: how far the run is, is not known then.",
    ),
    record(
        "run:epochcost_history:pending",
        """
        min by (RUN) (part:epochcost_start_epoch:kept) > 0
        unless on (RUN) run:epochcost_reported:now offset 6m
        """,
        "A run that came back in its middle minutes ago: its earlier parts come from the archive, every five minutes.",
    ),
    record(
        "run:epochcost_epochs:missing",
        """
        (
          max by (RUN) (part:epochcost_position:kept)
          - on (RUN)
          sum by (RUN) (
            part:epochcost_epochs:kept
            < on (PART) (part:epochcost_position:kept - on (PART) part:epochcost_start_epoch:kept)
            or on (PART)
            (part:epochcost_position:kept - on (PART) part:epochcost_start_epoch:kept)
          )
          > 0.01
        )
        and on (RUN) run:epochcost_reported:now
        unless on (RUN) run:epochcost_history:pending
        """,
        "Epochs that were done where nobody knows it any more: before the first part that is known, between two, or "
        "between two attempts of one.",
    ),
]
ARCHIVE = [
    archived("epochcost_run_seconds"),
    *(archived(name) for name in FIGURES),
]
SEEN = [
    record("node:epochcost_node_info:archive", "last_over_time(node:epochcost_node_info:max[10m])"),
    record(
        "node:epochcost_price_usd_per_hour:archive", "last_over_time(node:epochcost_price_usd_per_hour:unified[10m])"
    ),
    record(
        "target:epochcost_node_info:archive",
        "max by (MACHINE, job, instance) (last_over_time(epochcost_node_info[10m]))",
        "By which target each machine was scraped: a target that does not answer is then told by its machine's name.",
    ),
    record(
        "target:epochcost_price_source:archive",
        "max by (KEEP, job, instance) (last_over_time(epochcost_price_source_success[10m])) >= bool 0",
    ),
]
