"""What is left of credit, how long it lasts, and when providers end machines by a limit of their sessions."""

from __future__ import annotations

from rule_text import Group, RuleFile, record

CREDIT = "KEEP, credit, provider"
PAYER = "KEEP, provider"
PRICE = "node:epochcost_price_usd_per_hour:unified"
CONFIGURED = "credit:epochcost_credit_timestamp_seconds:configured"
TOTAL = "payer:epochcost_spent_usd:total"
BASE = "credit:epochcost_spent_usd:base"


def before(rule: str) -> str:
    """``rule`` as the evaluation before had it."""
    return f"last_over_time({rule}[7d] offset 1s)"


def of_payers(machines: str) -> str:
    """``machines`` summed by provider."""
    return f"""
    sum by ({PAYER}) (
      {machines}
      * on (MACHINE) group_left (provider) max by (MACHINE, provider) (machine:epochcost_node_info:max)
    )"""


def of_credits(payers: str, credit: str = CONFIGURED) -> str:
    """What ``payers`` has for each configured ``credit``.

    Machines of the poller's cluster count; where it has none (a poller for all), those of every cluster.
    """
    return f"""
    0 * {credit} + on ({PAYER}) group_left () {payers}
    or on ({CREDIT})
    0 * ({credit} unless on (KEEP) machine:epochcost_node_info:max)
    + on (provider) group_left () sum by (provider) ({payers})"""


CREDIT_FILE = RuleFile(
    "What is left of credit and how long it lasts; when machines are ended. Every rule is explained in docs/rules.md.",
    [
        Group(
            "epochcost-credit",
            [
                record(
                    CONFIGURED,
                    f"""
                    max by ({CREDIT}) (epochcost_credit_timestamp_seconds)
                    unless on ({CREDIT}) epochcost_credit_spend_usd_per_hour
                    unless on ({PAYER}) count by ({PAYER}) (
                      max by ({CREDIT}) (epochcost_credit_timestamp_seconds)
                      unless on ({CREDIT}) epochcost_credit_spend_usd_per_hour
                    ) > 1
                    """,
                    """
                    When a configured balance was read; of several that one provider has, nobody can tell which one is
                    spent.
                    """,
                ),
                record("payer:epochcost_spent_usd:step", of_payers("machine:epochcost_spent_usd:step")),
                record("payer:epochcost_price_usd_per_hour:sum", of_payers(PRICE)),
                record(
                    TOTAL,
                    f"""
                    (payer:epochcost_spent_usd:step or 0 * {before(TOTAL)})
                    + on ({PAYER})
                    ({before(TOTAL)} or 0 * payer:epochcost_spent_usd:step)
                    """,
                    "All dollars that machines of a provider have cost since this is recorded, gone ones included.",
                ),
                record("credit:epochcost_spent_usd:total", of_credits(TOTAL)),
                record(
                    BASE,
                    f"""
                    (
                      {before(BASE)}
                      and on ({CREDIT})
                      ({CONFIGURED} == on ({CREDIT}) {before(CONFIGURED)})
                    )
                    or on ({CREDIT})
                    max_over_time(
                      (
                        {of_credits(TOTAL, f"({CONFIGURED} @ end() >= time() - 1)")}
                      )[15d:1h]
                    )
                    or on ({CREDIT})
                    credit:epochcost_spent_usd:total
                    """,
                    """
                    The same as of when a configured balance was read, to the hour: what was recorded then, up to 15
                    days ago, else when it is first seen.
                    """,
                ),
                record(
                    "credit:epochcost_credit_usd:left",
                    f"""
                    (
                      max by ({CREDIT}) (epochcost_credit_balance_usd)
                      and on ({CREDIT}) epochcost_credit_spend_usd_per_hour
                    )
                    or on ({CREDIT})
                    clamp_min(
                      max by ({CREDIT}) (epochcost_credit_balance_usd)
                      - on ({CREDIT})
                      (clamp_min(credit:epochcost_spent_usd:total - on ({CREDIT}) {BASE}, 0) or 0 * {CONFIGURED}),
                      0
                    )
                    """,
                    """
                    As its provider says, else what was configured less what machines have cost since: at most so much,
                    for what is not scraped is not in it.
                    """,
                ),
                record(
                    "credit:epochcost_credit_spend_usd_per_hour:now",
                    f"""
                    max by ({CREDIT}) (epochcost_credit_spend_usd_per_hour)
                    or on ({CREDIT})
                    {of_credits("payer:epochcost_price_usd_per_hour:sum")}
                    """,
                ),
                record(
                    "credit:epochcost_credit_lasts_seconds:now",
                    f"""
                    min by ({CREDIT}) (
                      label_replace(
                        3600 * credit:epochcost_credit_usd:left
                        / (credit:epochcost_credit_spend_usd_per_hour:now > 0),
                        "by", "spend", "", ""
                      )
                      or
                      label_replace(
                        min by ({CREDIT}) (epochcost_credit_end_timestamp_seconds) - time(), "by", "date", "", ""
                      )
                    )
                    """,
                    "Until it is empty at what is spent an hour now, or void.",
                ),
            ],
            interval="1m",
        ),
        Group(
            "epochcost-session",
            [
                record(
                    "node:epochcost_session_left_seconds:now",
                    """
                    (min by (MACHINE, limit) (epochcost_node_session_end_timestamp_seconds) - time())
                    * on (MACHINE) group_left (node) node:epochcost_node_info:max
                    """,
                    "Until the provider ends a machine.",
                ),
            ],
        ),
    ],
)
