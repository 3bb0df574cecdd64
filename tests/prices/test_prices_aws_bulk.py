"""EC2's public price list, read as a stream: exactly one row, or no price."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.prices.aws_price_list import COLUMNS, PREAMBLE, PriceListServer, big, header, line

from epochcost.model import InstanceFacts, PurchaseOption
from epochcost.prices.aws.aws_bulk import AwsBulk, make
from epochcost.prices.price_source import Catalogue, PriceRequests, PriceSourceError, Want

NOW = 1_795_000_000.0
P4D = Want("aws", "us-east-1", "p4d.24xlarge")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server() -> Iterator[PriceListServer]:
    it = PriceListServer(list)
    yield it
    it.stop()


def serve(server: PriceListServer, *lines: str, head: str = "") -> None:
    text = (head or header()) + "".join(lines)
    server.body = lambda: [text.encode()]


def fetch(server: PriceListServer, *requested: Want) -> Catalogue:
    return AwsBulk(server.url, frozenset(), 86400.0).fetch(PriceRequests(frozenset(requested or (P4D,))), NOW)


TWINS = {
    "TermType": "Reserved",
    "Unit": "Quantity",
    "Currency": "CNY",
    "Location Type": "AWS Local Zone",
    "Operating System": "Windows",
    "License Model": "Bring your own license",
    "Tenancy": "Dedicated",
    "Pre Installed S/W": "SQL Web",
    "CapacityStatus": "AllocatedCapacityReservation",
    "MarketOption": "CapacityBlock",
    "operation": "RunInstances:0002",
    "Region Code": "us-east-1-bos-1",
    "Instance Type": "p4de.24xlarge",
}


@pytest.mark.parametrize("column", TWINS)
def test_each_guard_alone_keeps_a_twin_of_the_row_out(server: PriceListServer, column: str) -> None:
    """A twin that differs from the Linux row in this one column only: without the guard there would be two rows."""
    serve(server, line("1.0", "TWIN", **{column: TWINS[column]}), line("21.957642"))
    (price,) = fetch(server).prices
    assert price.usd_per_hour == 21.957642
    assert (price.key.provider, price.key.region, price.key.zone) == ("aws", "us-east-1", "")
    assert (price.key.purchase_option, price.source, price.fetched_ts) == (PurchaseOption.ON_DEMAND, "aws_bulk", NOW)


@pytest.mark.parametrize("usd", ["0.0000000000", "-1"])
def test_a_row_of_zero_dollars_is_not_a_price(server: PriceListServer, usd: str) -> None:
    serve(server, line(usd, "FREE"), line("21.957642"))
    assert [price.usd_per_hour for price in fetch(server).prices] == [21.957642]


def test_an_empty_field_for_no_software_counts_as_none(server: PriceListServer) -> None:
    serve(server, line("21.957642", **{"Pre Installed S/W": ""}))
    assert len(fetch(server).prices) == 1


def test_two_matching_rows_give_no_price(server: PriceListServer) -> None:
    serve(server, line("21.957642", "ONE"), line("32.7726", "TWO"))
    with pytest.raises(
        PriceSourceError, match=r"p4d.24xlarge in us-east-1: 2 rows match, not one \(ONE \$21.9576, TWO"
    ):
        fetch(server)


def test_several_types_and_regions_and_their_facts(server: PriceListServer) -> None:
    g5 = {"Instance Type": "g5.xlarge", "vCPU": "4", "Memory": "16 GiB", "GPU": "1"}
    serve(server, line("21.957642"), line("1.006", "G5", **g5))
    catalogue = fetch(server, P4D, Want("aws", "us-east-1", "g5.xlarge"), Want("aws", "us-east-1", "nonesuch.large"))
    assert {price.key.instance_type: price.usd_per_hour for price in catalogue.prices} == {
        "p4d.24xlarge": 21.957642,
        "g5.xlarge": 1.006,
    }
    assert InstanceFacts("aws", "p4d.24xlarge", "", 8.0, None, 96.0, 1152 * 1024**3) in catalogue.facts
    assert server.paths == ["/offers/v1.0/aws/AmazonEC2/current/us-east-1/index.csv"]


def test_a_failing_region_does_not_affect_the_others(server: PriceListServer) -> None:
    serve(server, line("21.957642"))
    catalogue = fetch(server, P4D, Want("aws", "eu-west-1", "p4d.24xlarge"))
    assert len(catalogue.prices) == 1, "the list served for eu-west-1 has rows of us-east-1 only"
    server.status = 404
    with pytest.raises(PriceSourceError, match=r"aws_bulk: the price list of us-east-1 at 127.0.0.1:\d+: HTTP 404"):
        fetch(server)


def test_a_truncated_download_is_an_error_even_after_the_wanted_row(server: PriceListServer) -> None:
    serve(server, line("21.957642"))
    server.truncated = True
    with pytest.raises(PriceSourceError, match="cannot be read: the response was cut off after 975 of 1975 bytes"):
        fetch(server)


@pytest.mark.parametrize("column", [*(name for name in TWINS if name != "Region Code"), "PricePerUnit"])
def test_a_check_without_its_column_fails(server: PriceListServer, column: str) -> None:
    columns = [name for name in COLUMNS if name != column]
    serve(server, line("21.957642", columns=columns), head=header(columns))
    with pytest.raises(PriceSourceError, match=f"is not a price list: column '{column}' is missing"):
        fetch(server)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "no header line with the columns"),
        ("<html>denied</html>\n", "no header line with the columns"),
        (header() + '"OnDemand","p4d.24xlarge"\n', 'b\'"OnDemand","p4d.24xlarge".n\': zip'),
        (PREAMBLE + '"' + "x" * 70000, "line 6 is longer than 65536 bytes"),
    ],
)
def test_another_form_is_an_error_with_the_found_header(server: PriceListServer, body: str, error: str) -> None:
    server.body = lambda: [body.encode()]
    with pytest.raises(PriceSourceError, match=f"is not a price list: {error}"):
        fetch(server)


def test_without_wanted_types_nothing_is_downloaded(server: PriceListServer) -> None:
    assert fetch(server, Want("gcp", "us-central1", "a2-highgpu-1g")) == Catalogue()
    assert fetch(server, Want("aws", "us-east-1", "ml.p4d.24xlarge")) == Catalogue()
    assert server.paths == []


def test_a_long_list_is_read_in_little_memory(server: PriceListServer) -> None:
    rows = 160_000
    server.body = lambda: big(rows, "p4d.24xlarge", "21.957642")
    server.length = sum(map(len, big(rows, "p4d.24xlarge", "21.957642")))
    assert server.length > 60_000_000
    program = f"""
import json
from epochcost.prices.aws.aws_bulk import AwsBulk
from epochcost.prices.price_source import Want, PriceRequests
def peak_kib():  # not ru_maxrss: that begins at what the parent held
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
before = peak_kib()
want = Want("aws", "us-east-1", "p4d.24xlarge")
found = AwsBulk({server.url!r}, frozenset(), 1.0).fetch(PriceRequests(frozenset([want])), 0.0)
after = peak_kib()
print(json.dumps([found.prices[0].usd_per_hour, (after - before) / 1024, after / 1024]))
"""
    env = {"PYTHONPATH": str(ROOT / "exporter")}
    completed = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    usd, grown_mib, peak_mib = json.loads(completed.stdout)
    assert usd == 21.957642
    assert grown_mib < 10
    assert peak_mib < 100


def test_it_watches_what_the_settings_name() -> None:
    class Told:
        aws_regions = ("us-east-1",)
        aws_instance_types = ("p4d.24xlarge",)
        aws_on_demand_interval = 86400.0
        aws_price_list_url = "https://pricing.us-east-1.amazonaws.com"

    (source,) = make(Told())
    assert source.watched == {P4D}


def test_a_new_purchase_option_is_noticed(server: PriceListServer) -> None:
    serve(
        server, line("9.0", "NEW", MarketOption="Lottery"), line("1.0", "CB", MarketOption="CapacityBlock"), line("2")
    )
    catalogue = fetch(server)
    assert catalogue.unknown == ("MarketOption=Lottery",)
    assert [price.usd_per_hour for price in catalogue.prices] == [2.0]
