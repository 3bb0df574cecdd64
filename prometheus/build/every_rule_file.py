"""Every rule file that is built, by its name. The limits (epochcost-thresholds.yml) are written by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bill_rules import BILL
from budget_rules import BUDGET
from compare_rules import COMPARE
from cost_rules import COST
from credit_rules import CREDIT_FILE
from energy_rules import ENERGY
from gpu_rules import GPUS
from limit_rules import LIMITS
from price_rules import MARKET, PLACE, PRICE
from rule_text import AlertFile, RuleFile
from run_rules import RUNS
from waste_rules import WASTE_FILE

ALERTS = Path(__file__).with_name("alerts")
FILES: Mapping[str, RuleFile | AlertFile] = {
    "epochcost-bill": BILL,
    "epochcost-budget": BUDGET,
    "epochcost-compare": COMPARE,
    "epochcost-cost": COST,
    "epochcost-energy": ENERGY,
    "epochcost-credit": CREDIT_FILE,
    "epochcost-gpu": GPUS,
    "epochcost-limits": LIMITS,
    "epochcost-market": MARKET,
    "epochcost-place": PLACE,
    "epochcost-price": PRICE,
    "epochcost-run": RUNS,
    "epochcost-waste": WASTE_FILE,
    **{path.stem: AlertFile(path) for path in sorted(ALERTS.glob("*.yml"))},
}
