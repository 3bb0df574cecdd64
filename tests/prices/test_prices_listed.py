"""Dated price lists: the figures of the articles, and users' own files."""

from __future__ import annotations

import csv
import math
from datetime import datetime, timezone
from pathlib import Path

import pytest

from epochcost.model import Price, PriceKey, PurchaseOption
from epochcost.prices import listed
from epochcost.prices.gpu_model import canonical
from epochcost.prices.listed import Listed, ListedFiles
from epochcost.prices.merged_prices import usd_per_hour_at
from epochcost.prices.price_source import PriceRequests, PriceSourceError

NOW = 1_795_000_000.0
HEADER = "provider,region,zone,instance_type,purchase_option,usd_per_hour,date,source\n"


def day(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def built_in() -> dict[tuple[str, str, str], Price]:
    prices = Listed().fetch(PriceRequests(), NOW).prices
    return {(p.key.provider, p.key.instance_type, p.key.purchase_option.value): p for p in prices}


@pytest.mark.parametrize(
    ("instance_type", "epoch_seconds", "cents", "usd_for_25"),
    [
        ("c4.8xlarge", 1404, 65.325, 16.33125),
        ("g2.2xlarge", 3779, 0.65 * 3779 / 36, 0.65 * 3779 / 144),
        ("p2.xlarge", 428, 10.70, 2.675),
        ("p2.xlarge", 170, 4.25, 1.0625),
    ],
)
def test_the_reference_table_follows_from_the_listed_prices(
    instance_type: str, epoch_seconds: int, cents: float, usd_for_25: float
) -> None:
    price = built_in()["aws", instance_type, "on_demand"]
    usd = usd_per_hour_at(price, day("2016-11-15"))
    assert usd is not None
    assert math.isclose(usd * epoch_seconds / 36, cents, rel_tol=1e-12)
    assert math.isclose(usd * epoch_seconds / 3600 * 25, usd_for_25, rel_tol=1e-12)


@pytest.mark.parametrize(
    ("provider", "instance_type", "saving"),
    [("gcp", "n1-standard-16+P4", 0.98 / 1.36), ("azure", "NV6", 0.94 / 1.14), ("aws", "g3.4xlarge", 0.80 / 1.14)],
)
def test_the_savings_of_spot_in_2021_follow_from_the_listed_prices(
    provider: str, instance_type: str, saving: float
) -> None:
    prices = built_in()
    spot, on_demand = (prices[provider, instance_type, option] for option in ("spot", "on_demand"))
    assert math.isclose(1 - spot.usd_per_hour / on_demand.usd_per_hour, saving, rel_tol=1e-12)
    assert spot.fetched_ts == spot.steps[0].ts == day("2021-01-28")


def test_every_other_figure_of_the_articles_is_listed_with_its_own_date() -> None:
    prices = built_in()
    dated = {
        ("aws", "p2.xlarge", "spot"): (0.28, "2018-10-01"),
        ("aws", "p2.8xlarge", "spot"): (4.05, "2018-10-01"),
        ("aws", "ml.p2.xlarge", "on_demand"): (1.26, "2018-10-01"),
        ("aws", "p2.16xlarge", "on_demand"): (14.40, "2016-11-01"),
        ("aws", "g3s.xlarge", "on_demand"): (0.75, "2019-06-01"),
        ("vastai", "GTX 1070 Ti", "on_demand"): (0.065, "2018-10-01"),
        ("paperspace", "TPUv2", "on_demand"): (6.50, "2018-10-01"),
        ("paperspace", "basic GPU", "on_demand"): (0.07, "2018-10-01"),
    }
    for system, (usd, date) in dated.items():
        assert (prices[system].usd_per_hour, prices[system].fetched_ts) == (usd, day(date)), system
    assert math.isclose(prices["aws", "p2.xlarge", "spot"].usd_per_hour * 20 / 60, 0.28 / 3)


def test_the_list_has_the_facts_of_types_and_a_cpu_machine_has_no_gpu() -> None:
    facts = {fact.instance_type: fact for fact in Listed().fetch(PriceRequests(), NOW).facts}
    assert (facts["p2.xlarge"].gpu_model, facts["p2.xlarge"].gpus) == ("K80", 1)
    assert facts["p2.xlarge"].gpu_memory_bytes == 12 * 1024**3
    assert facts["c4.8xlarge"].gpus == 0


def test_rows_of_one_machine_with_different_dates_are_one_price_with_steps(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        HEADER
        + "house,,,box,reserved,2.5,2026-03-01,contract\n"
        + "# a comment\n\n"
        + "house,,,box,reserved,3.0,2026-01-01T12:00:00Z,contract\n"
        + "house,,,box,reserved,2.0,2099-01-01,announced\n"
    )
    (price,) = ListedFiles((str(path),)).fetch(PriceRequests(), NOW).prices
    assert [step.usd_per_hour for step in price.steps] == [3.0, 2.5, 2.0]
    assert price.fetched_ts == day("2026-03-01")  # as old as the row in effect, not as the announced one
    assert price.key == PriceKey("house", "", "", "box", PurchaseOption.RESERVED)


def test_a_later_file_wins_over_an_earlier_one(tmp_path: Path) -> None:
    for name, usd in (("a.csv", 1.0), ("b.csv", 2.0)):
        (tmp_path / name).write_text(HEADER + f"house,,,box,owned,{usd},2026-01-01,x\n")
    (price,) = ListedFiles((str(tmp_path / "a.csv"), str(tmp_path / "b.csv"))).fetch(PriceRequests(), NOW).prices
    assert price.usd_per_hour == 2.0


def error_of(tmp_path: Path, content: str | bytes) -> str:
    path = tmp_path / "own.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PriceSourceError) as caught:
        ListedFiles((str(path),)).fetch(PriceRequests(), NOW)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_all_bad_lines_of_a_file_are_named_with_column_value_and_allowed_values(tmp_path: Path) -> None:
    message = error_of(
        tmp_path,
        HEADER
        + "house,,,box,owned,free,2026-01-01,x\n"
        + "house,,,good,owned,1,2026-01-01,x\n"
        + "house,,,box,rented,1,2026-01-01,x\n"
        + "house,,,box,owned,1,yesterday,x\n"
        + ",,,box,owned,1,2026-01-01,x\n"
        + "house,,,box,owned,1,2026-01-01\n",
    )
    assert "line 2: column usd_per_hour: 'free' must be US dollars an hour, above 0" in message
    assert "line 4: column purchase_option: 'rented' is not known; allowed: on_demand, spot, reserved, owned" in message
    assert "line 5: column date: 'yesterday' must be a day" in message
    assert "line 6: column provider: '' must be 1 to 128" in message
    assert "line 7: has 7 values for 8 columns" in message


@pytest.mark.parametrize("usd", ["0", "-1", "nan", "inf", "1e9", ""])
def test_an_impossible_price_is_rejected(tmp_path: Path, usd: str) -> None:
    assert "line 2: column usd_per_hour" in error_of(tmp_path, HEADER + f"house,,,box,owned,{usd},2026-01-01,x\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: the first line must name the columns"),
        ("provider,date\n", "line 1: column instance_type is missing"),
        (HEADER.replace("zone", "zona"), "line 1: unknown column 'zona'; allowed:"),
        (HEADER.replace("zone", "region"), "line 1: column region occurs twice"),
        (HEADER + 'house,,,"box,owned,1,2026-01-01,x\n', "is not CSV"),
        (b"\xff\xfe\x00\x01", "is not UTF-8 text: byte 0"),
        (HEADER + "house,,,box,owned,1,2026-01-01," + "x" * 200_000 + "\n", "is not CSV: field larger"),
        (HEADER + 2 * "house,,,box,owned,1,2026-01-01,x\n", "line 3: column date: the same machine has this date on"),
        (
            HEADER[:-1] + ",gpus\nhouse,,,box,owned,1,2026-01-01,x,many\n",
            "line 2: column gpus: 'many' must be a number",
        ),
    ],
)
def test_a_file_that_is_not_a_price_list_is_rejected(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert message in error_of(tmp_path, content)


def test_a_thousand_bad_lines_are_not_all_spelt_out(tmp_path: Path) -> None:
    message = error_of(tmp_path, HEADER + "house,,,box,owned,free,2026-01-01,x\n" * 1000)
    assert message.count("line ") == 50
    assert message.endswith("and 950 more")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PriceSourceError, match=r"absent.csv: cannot be read: No such file"):
        ListedFiles((str(tmp_path / "absent.csv"),)).fetch(PriceRequests(), NOW)


def test_a_bad_file_does_not_affect_the_good_one(tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text(HEADER + "house,,,box,owned,1,2026-01-01,x\n")
    (tmp_path / "bad.csv").write_text("nonsense\n")
    result = ListedFiles((str(tmp_path / "good.csv"), str(tmp_path / "bad.csv"))).fetch(PriceRequests(), NOW)
    assert [price.key.instance_type for price in result.prices] == ["box"]
    assert len(result.problems) == 1
    assert "bad.csv" in result.problems[0]


# --- currencies and YAML ---

FOREIGN = "provider,instance_type,purchase_option,price_per_hour,currency,date\n"


def test_a_price_in_another_currency_counts_at_the_configured_rate_and_never_at_a_guess(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(FOREIGN + "ovh,h100,on_demand,2.50,EUR,2026-01-01\novh,l4,on_demand,0.80,USD,2026-01-01\n")
    result = ListedFiles((str(path),), (("EUR", 1.08),)).fetch(PriceRequests(), NOW)
    assert [price.usd_per_hour for price in result.prices] == [pytest.approx(2.7), 0.8]
    with pytest.raises(PriceSourceError, match=r"line 2: column currency: 'EUR' has no rate; known: USD, CNY; set"):
        ListedFiles((str(path),), (("CNY", 0.14),)).fetch(PriceRequests(), NOW)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ovh,h100,on_demand,2.50,,2026-01-01", "column currency: '' has no rate"),
        ("ovh,h100,on_demand,free,EUR,2026-01-01", "column price_per_hour: 'free' must be US dollars"),
        ("ovh,h100,on_demand,0,EUR,2026-01-01", "column price_per_hour: '0' must be"),
        ("ovh,h100,on_demand,,EUR,2026-01-01", "column usd_per_hour: '' must be"),
    ],
)
def test_an_impossible_foreign_price_is_rejected(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(FOREIGN + line + "\n")
    with pytest.raises(PriceSourceError) as caught:
        ListedFiles((str(path),), (("EUR", 1.08),)).fetch(PriceRequests(), NOW)
    assert message in str(caught.value)


def test_a_row_with_two_prices_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(HEADER[:-1] + ",price_per_hour,currency\n" + "house,,,box,owned,1,2026-01-01,x,2,USD\n")
    with pytest.raises(PriceSourceError, match="column price_per_hour: give it or usd_per_hour, not both"):
        ListedFiles((str(path),)).fetch(PriceRequests(), NOW)


YAML = """
- {provider: aws, region: us-east-1, instance_type: p5.48xlarge, purchase_option: reserved, usd_per_hour: 31.464,
   date: 2026-11-01, source: capacity block of November, gpu_model: H100, gpus: 8}
- {provider: ovh, instance_type: h100, purchase_option: on_demand, price_per_hour: 2.5, currency: EUR, date: 2026-01-01}
"""


def test_a_list_may_be_yaml(tmp_path: Path) -> None:
    path = tmp_path / "contracts.yml"
    path.write_text(YAML)
    result = ListedFiles((str(path),), (("EUR", 1.08),)).fetch(PriceRequests(), NOW)
    assert [price.usd_per_hour for price in result.prices] == [31.464, pytest.approx(2.7)]
    assert result.prices[0].key == PriceKey("aws", "us-east-1", "", "p5.48xlarge", PurchaseOption.RESERVED)
    assert result.prices[0].fetched_ts == day("2026-11-01")
    assert (result.facts[0].gpu_model, result.facts[0].gpus) == ("H100", 8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("provider: aws", "must be a list of mappings with provider"),
        ("[1]", "entry 1: 1 must be a mapping"),
        ("- {provider: aws}", "entry 1: key instance_type is missing"),
        ("- {provider: aws, price: 3}", "entry 1: unknown key 'price'"),
        ("- {a: [}", "is not YAML"),
        (YAML + YAML, "entry 3: column date: the same machine has this date on entry 1"),
        (YAML.replace("31.464", "free"), "entry 1: column usd_per_hour: 'free' must be"),
    ],
)
def test_yaml_that_is_not_a_price_list_is_rejected_with_the_entry(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "contracts.yaml"
    path.write_text(content)
    with pytest.raises(PriceSourceError) as caught:
        ListedFiles((str(path),), (("EUR", 1.08),)).fetch(PriceRequests(), NOW)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


# --- the list in the package ---


def rows_of_the_package() -> list[dict[str, str]]:
    text = (Path(listed.__file__).parent / "listed.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def test_every_listed_row_has_its_source_and_date() -> None:
    for row in rows_of_the_package():
        assert len(row["source"]) > 20, row
        assert "2016-01-01" <= row["date"] <= "2026-11-21", row


def test_colab_is_its_compute_units_at_the_price_of_a_unit() -> None:
    rows = [row for row in rows_of_the_package() if row["provider"] == "colab"]
    assert {row["gpu_model"] for row in rows} == {"T4", "L4", "V100 16GB", "A100 40GB"}
    for row in rows:
        units = float(row["source"].split(": ")[1].split()[0])
        assert float(row["usd_per_hour"]) == pytest.approx(units * 9.99 / 100, rel=1e-12)


def test_free_types_have_no_row() -> None:
    assert not [row for row in rows_of_the_package() if row["provider"] == "kaggle" or float(row["usd_per_hour"]) <= 0]


def test_gpus_are_spelt_as_everywhere_else() -> None:
    for row in rows_of_the_package():
        memory = round(float(row["gpu_memory_gib"]) * 1024**3) if row["gpu_memory_gib"] else None
        spelt = canonical(row["gpu_model"], memory)
        if row["gpu_model"] and spelt and int(row["date"][:4]) >= 2024:
            assert spelt == row["gpu_model"], row


def test_a_row_of_a_zone_or_a_reservation_is_used_and_marked_as_narrow(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "provider,region,zone,instance_type,purchase_option,reservation,usd_per_hour,date\n"
        "aws,us-east-1,us-east-1a,p5.48xlarge,reserved,cr-1,31.464,2026-11-01\n"
    )
    result = ListedFiles((str(path),)).fetch(PriceRequests(), NOW)
    key = PriceKey("aws", "us-east-1", "us-east-1a", "p5.48xlarge", PurchaseOption.RESERVED, "cr-1")
    assert [price.key for price in result.prices] == [key]
    assert result.notes == (
        "listed_file: the reserved price of p5.48xlarge holds in zone us-east-1a and reservation cr-1 only",
    )


def test_a_reservation_goes_with_reserved_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "provider,instance_type,purchase_option,reservation,usd_per_hour,date\naws,p5.48xlarge,spot,cr-1,31,2026-11-01\n"
    )
    with pytest.raises(
        PriceSourceError, match=r"line 2: column reservation: 'cr-1' goes with purchase_option reserved"
    ):
        ListedFiles((str(path),)).fetch(PriceRequests(), NOW)
