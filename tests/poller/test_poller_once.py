"""``epochcost prices --once``: a single query of the market, cheapest GPU-hour first."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.poller.sources import ScriptedSource, price
from tests.prices.json_server import JsonServer, Reply
from tests.prices.test_runpod import gpu as runpod_gpu

from epochcost.cli import main
from epochcost.model import InstanceFacts
from epochcost.poller.once import COLUMNS, Filter, Look, Printout, age, run_once
from epochcost.poller.poller_settings import PollerSettings
from epochcost.poller.remedies import with_remedy
from epochcost.prices import OPT_IN, SOURCES
from epochcost.prices.listed import Listed
from epochcost.prices.price_source import Catalogue, NotConfiguredError, PriceRequests, PriceSourceError, Source, Want

NOW = 1_795_000_000.0
ROOT = Path(__file__).resolve().parents[2]
GIB = 1024**3


def scripted(name: str = "scripted") -> ScriptedSource:
    prices = (
        price(55.04, source=name, instance_type="p5.48xlarge", at=NOW - 7200),
        price(2.69, source=name, provider="runpod", region="community", instance_type="1x H100 SXM", at=NOW),
        price(0.1, source=name, instance_type="m7i.large", at=NOW),
        price(9.0, source=name, instance_type="mystery", at=NOW),
        price(1.0, source=name, instance_type="later", since=NOW + 60, at=NOW),
    )
    facts = (
        InstanceFacts("aws", "p5.48xlarge", "H100", 8.0, 80 * GIB, 192.0, 2048 * GIB),
        InstanceFacts("runpod", "1x H100 SXM", "H100", 1.0),
        InstanceFacts("aws", "m7i.large", "", 0.0, None, 2.0, 8 * GIB),
    )
    return ScriptedSource(lambda wanted, now: Catalogue(prices, facts), name=name)


def once(form: str, row_filter: Filter = Filter(), *sources: Source) -> Look:  # noqa: B008 - a frozen value
    return run_once(PollerSettings(), sources or (scripted(),), lambda: NOW, Printout(row_filter, form))


def test_rows_are_sorted_by_dollars_a_gpu_hour_and_what_has_no_gpu_comes_last() -> None:
    rows = json.loads(once("json").text)
    assert [row["instance_type"] for row in rows] == ["1x H100 SXM", "p5.48xlarge", "m7i.large", "mystery"]
    assert rows[1]["usd_per_gpu_hour"] == pytest.approx(6.88)
    assert (rows[1]["source"], rows[1]["age_seconds"], rows[1]["gpu_memory_gib"]) == ("scripted", 7200, 80)


def test_unknown_fields_stay_empty() -> None:
    rows = json.loads(once("json").text)
    assert "usd_per_gpu_hour" not in rows[3]
    assert "gpu_model" not in rows[3]
    lines = list(csv.DictReader(io.StringIO(once("csv").text)))
    assert tuple(lines[0]) == COLUMNS
    assert (lines[3]["usd_per_gpu_hour"], lines[3]["gpus"], lines[3]["usd_per_hour"]) == ("", "", "9.0")
    assert lines[2]["gpus"] == "0.0", "none is known"


def test_the_table_has_source_and_age() -> None:
    lines = once("table").text.splitlines()
    assert lines[0].split() == ["$/GPU-h", "$/h", "GPU", "GPUs", "provider", "where", "type", "how", "source", "age"]
    assert " ".join(lines[2].split()) == "6.8800 55.0400 H100 8 aws us-east-1 p5.48xlarge on_demand scripted 2h"
    assert len(lines) == 5


def test_rows_are_filtered_by_gpu_and_provider() -> None:
    assert len(json.loads(once("json", Filter(gpu="h100")).text)) == 2
    assert [row["provider"] for row in json.loads(once("json", Filter("H100", "AWS")).text)] == ["aws"]
    assert json.loads(once("json", Filter(gpu="H10")).text) == []


@pytest.mark.parametrize(
    ("row_filter", "messages"),
    [
        (Filter(gpu="H10"), "no price matches --gpu H10; known are H100"),
        (Filter(provider="amazon"), "no price matches --provider amazon; known are aws, runpod"),
        (Filter("H100", "azur"), "no price matches --gpu H100 and --provider azur; known are H100; aws, runpod"),
    ],
)
def test_an_unknown_name_is_reported_with_the_available_ones(row_filter: Filter, messages: str) -> None:
    assert once("json", row_filter) == Look("[]", (messages,), complete=False)


def test_a_market_without_prices_is_reported_and_is_a_failure() -> None:
    empty_source = ScriptedSource(lambda wanted, now: Catalogue(), name="scripted")
    look = once("json", Filter(gpu="H100"), empty_source)
    assert (look.text, look.complete) == ("[]", False)
    assert [line for line in look.messages if line.startswith("no price is known")]


def test_a_failing_source_is_reported_and_does_not_affect_the_others() -> None:
    def fail(requests: PriceRequests, now: float) -> Catalogue:
        raise PriceSourceError("broken: HTTP 503")

    def skip(requests: PriceRequests, now: float) -> Catalogue:
        raise NotConfiguredError("bare: no credentials")

    look = once("json", Filter(), ScriptedSource(fail, name="broken"), scripted(), ScriptedSource(skip, name="bare"))
    assert len(json.loads(look.text)) == 4
    assert look.messages == ("failed: broken: HTTP 503", "skipped: bare: no credentials")
    assert not look.complete, "a question failed, whatever others answered"
    assert once("json", Filter(), scripted(), ScriptedSource(skip, name="bare")).complete, (
        "what is skipped was not asked"
    )


def test_a_requested_type_that_does_not_exist_is_reported_with_the_nearest_name() -> None:
    def respond(requests: PriceRequests, now: float) -> Catalogue:
        available = price(55.04, source="aws", instance_type="p5.48xlarge", at=NOW)
        requested = frozenset({Want("aws", "us-east-1", "p5.49xlarge"), Want("aws", "us-east-1", "p5.48xlarge")})
        return Catalogue((available,), requested=requested, unknown=("marketoption=Lottery",))

    look = once("json", Filter(), ScriptedSource(respond, name="aws"))
    assert look.complete
    assert look.messages[0].startswith("not priced: aws: p5.49xlarge: no price in us-east-1")
    assert look.messages[0].endswith("Nearest: p5.48xlarge")
    assert "marketoption=Lottery" in look.messages[1]


def dated_and_current() -> tuple[Source, Source]:
    old = price(0.28, source="listed", instance_type="p2.xlarge", at=NOW - 9 * 365.25 * 86400)
    facts = (InstanceFacts("aws", "p2.xlarge", "K80", 1.0),)
    return ScriptedSource(lambda wanted, now: Catalogue((old,), facts, whole_history=True), name="listed"), scripted()


def test_current_prices_come_first_and_dated_ones_separately_with_their_age() -> None:
    lines = once("table", Filter(), *dated_and_current()).text.splitlines()
    (title,) = (number for number, line in enumerate(lines) if line.startswith("Dated prices"))
    assert [line for line in lines[:title] if "K80" in line] == []
    assert lines[-1].split()[-2:] == ["listed", "9y"]
    assert json.loads(once("json", Filter(), *dated_and_current()).text)[-1]["source"] == "listed"


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_the_table_fits_into_the_terminal(width: int) -> None:
    look = run_once(PollerSettings(), dated_and_current(), lambda: NOW, Printout(width=width))
    lines = look.text.splitlines()
    assert max(map(len, lines)) <= width
    assert all(name in lines[0] for name in ("$/GPU-h", "type", "age"))


def test_in_a_narrow_terminal_no_two_machines_look_the_same() -> None:
    look = run_once(PollerSettings(), [Listed()], lambda: NOW, Printout(width=80))
    rows = [line for line in look.text.splitlines() if line[:2].strip().isdecimal()]
    assert len(set(rows)) == len(rows) > 50
    assert any("St…" in row and "_T4_v3" in row for row in rows)


def test_sources_are_queried_concurrently() -> None:
    all_at_once = threading.Barrier(5, timeout=20)
    queried: list[int] = []

    def meet(requests: PriceRequests, now: float) -> Catalogue:
        queried.append(all_at_once.wait())  # one after another, the first would wait in vain
        return Catalogue()

    once("json", Filter(), *(ScriptedSource(meet, name=f"source{n}") for n in range(5)))
    assert sorted(queried) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5s"), (300, "5m"), (7200, "2h"), (41 * 86400, "41d"), (3.2e8, "10y")]
)
def test_ages_for_people(seconds: float, text: str) -> None:
    assert age(seconds) == text


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}  # lines are wrapped to that
    env["PYTHONPATH"] = str(ROOT / "exporter")
    program = [sys.executable, "-m", "epochcost", "prices", "--once", *arguments]
    return subprocess.run(program, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_prints_the_market_and_ends() -> None:
    completed = command("--prices.sources", "listed", "--gpu", "K80", "--provider", "aws", "--format", "csv")
    assert (completed.returncode, completed.stderr) == (0, "")
    rows = list(csv.DictReader(io.StringIO(completed.stdout)))
    assert {row["gpu_model"] for row in rows} == {"K80"}
    assert min(float(row["usd_per_gpu_hour"]) for row in rows) == pytest.approx(0.28)
    assert all(row["source"] == "listed" and float(row["age_seconds"]) > 5 * 365 * 86400 for row in rows)


def test_the_command_fails_without_any_response(tmp_path: Path) -> None:
    completed = command("--prices.sources", "listed", "--format", "yaml")
    assert completed.returncode == 2
    assert "invalid choice: 'yaml'" in completed.stderr
    completed = command("--prices.sources", "owned")
    assert completed.returncode == 1


@pytest.mark.parametrize("flag", ["--gpu=H100", "--provider=aws", "--format=csv"])
def test_row_filters_are_rejected_where_no_rows_are_printed(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "--prices.sources", "listed", flag]) == 2
    assert f"{flag.partition('=')[0]} requires --once" in capsys.readouterr().err


def test_a_closed_pipe_causes_no_traceback() -> None:
    program = f"{sys.executable} -m epochcost prices --once --prices.sources listed"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "exporter")}
    completed = subprocess.run(f"{program} | head -1", shell=True, env=env, capture_output=True, text=True, check=False)
    assert completed.stderr == ""
    assert completed.stdout.startswith("Dated prices")


def test_without_configuration_a_line_for_each_source_names_its_settings() -> None:
    completed = command("--prices.sources", "azure,lambda,runpod,vast,oci,owned")
    assert completed.returncode == 1
    messages = completed.stderr.splitlines()
    assert {line.split(": ")[1] for line in messages if line.startswith("skipped: ")} == {
        "azure", "lambda", "runpod", "vast", "oci", "owned",
    }  # fmt: skip
    assert [line for line in messages if "--" not in line] == []
    assert any(line.startswith("note: no source of current prices") for line in messages)


ALL_QUERIED = (
    *("--aws.regions", "us-east-1", "--aws.instance-types", "p5.48xlarge"),
    *("--azure.regions", "eastus", "--azure.instance-types", "Standard_NC4as_T4_v3"),
    *("--gcp.regions", "us-central1", "--gcp.machine-types", "a2-highgpu-1g"),
    *("--vast.instance-types", "1x H100 SXM", "--runpod.instance-types", "1x H100 SXM"),
    *("--oci.instance-types", "BM.GPU.H100.8"),
)
KEYS = ("lambda", "digitalocean", "runpod", "vast", "gcp")
HTTP_SOURCES = {"aws", "aws_spot", "azure", "gcp", "vast", "vast_rented", "runpod", "lambda", "digitalocean", "oci"}


def newcomer(tmp_path: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command on a machine without credentials, whose only network access is a proxy that does not listen."""
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "exporter"),
        "HOME": str(tmp_path),
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_GCE_CHECK": "true",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        **environ,
    }
    line = [sys.executable, "-m", "epochcost", "prices", "--once", *arguments]
    return subprocess.run(line, env=env, capture_output=True, text=True, timeout=120, check=False)


def with_keys(tmp_path: Path) -> list[str]:
    key = tmp_path / "key"
    key.write_text("wrong-key-1234")
    return [word for name in KEYS for word in (f"--{name}.api-key-file", str(key))]


def kinds(completed: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """The message on each source, by its name; one line each."""
    lines = [line.split(": ", 2) for line in completed.stderr.splitlines()]
    assert len({line[1] for line in lines}) == len(lines), completed.stderr
    return {line[1]: f"{line[0]}: {line[2]}" for line in lines if len(line) > 2}


def test_without_credentials_there_are_dated_prices_and_the_needs_of_each_source(tmp_path: Path) -> None:
    completed = newcomer(tmp_path)
    assert completed.returncode == 0
    assert len(completed.stdout.splitlines()) > 20
    messages = kinds(completed)
    skipped = {name for name, why in messages.items() if why.startswith("skipped")}
    assert skipped == set(SOURCES) - {"listed", *OPT_IN}
    assert all("--" in why or "AWS_ACCESS_KEY_ID" in why for why in messages.values())
    assert "--runpod.instance-types" in completed.stderr.splitlines()[-1], (
        "the last line is a command that needs no key"
    )


def test_without_a_network_each_source_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    secrets = {"AWS_ACCESS_KEY_ID": "AKIAX", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-mine"}
    completed = newcomer(tmp_path, *ALL_QUERIED, *with_keys(tmp_path), **secrets)
    assert completed.returncode == 1
    assert len(completed.stdout.splitlines()) > 20, "what is known without one is printed all the same"
    failures = {name: why for name, why in kinds(completed).items() if why.startswith("failed")}
    assert set(failures) == HTTP_SOURCES
    assert all("check the network, and HTTPS_PROXY" in why for why in failures.values()), failures
    assert "s3cr3t-of-mine" not in completed.stderr
    assert "wrong-key-1234" not in completed.stderr


def test_one_wrong_key_is_one_line_that_names_the_file_to_look_at(tmp_path: Path) -> None:
    with JsonServer() as server:
        server.on("/instance-types", Reply({"error": {"code": "global/invalid-api-key"}}, 401))
        server.on("/graphql", Reply({"data": {"gpuTypes": [runpod_gpu()]}}))
        completed = newcomer(
            tmp_path,
            *("--prices.sources", "listed,lambda,runpod", "--runpod.instance-types", "1x H100 SXM"),
            *("--lambda.url", server.url, "--runpod.url", f"{server.url}/graphql"),
            *with_keys(tmp_path)[:2],
            NO_PROXY="127.0.0.1",
        )
    assert completed.returncode == 1
    assert "H100" in completed.stdout.splitlines()[1], "the prices of the others come first"
    (messages,) = (line for line in completed.stderr.splitlines() if line.startswith("failed"))
    assert "HTTP 401" in messages
    assert messages.endswith(
        "what to do: check the key in --lambda.api-key-file, and its permissions (docs/prices/lambda.md)"
    )


@pytest.mark.parametrize("columns", [80, 160])
def test_output_and_messages_keep_to_a_given_width(tmp_path: Path, columns: int) -> None:
    completed = newcomer(tmp_path, *ALL_QUERIED[4:8], COLUMNS=str(columns))
    lines = [*completed.stdout.splitlines(), *completed.stderr.splitlines()]
    assert max(map(len, lines)) <= columns


@pytest.mark.parametrize(
    ("sentence", "remedy"),
    [
        ("azure: GET prices.azure.com/x: HTTP 403: blocked", "no key is needed there"),
        ("aws_spot: describe: HTTP 401 AuthFailure no", "check AWS_ACCESS_KEY_ID"),
        ("aws: get_products: HTTP 400 RequestExpired", "set this machine's clock"),
        ("vast_rented: GET console.vast.ai/x: HTTP 403: auth_error", "check the key in --vast.api-key-file"),
        ("gcp: ListSkus: InvalidArgument: 400 API key not valid.", "check the key in --gcp.api-key-file"),
        ("oci: GET x: HTTP 429; to be retried after 3600 s", "try again later"),
    ],
)
def test_a_failure_ends_with_a_remedy(sentence: str, remedy: str) -> None:
    assert with_remedy(sentence).startswith(f"{sentence}; what to do: {remedy}")


def test_a_failure_outside_the_users_control_has_no_remedy() -> None:
    assert with_remedy("azure: X in eastus: 2 rows match") == "azure: X in eastus: 2 rows match"


def test_an_unexpected_error_of_a_source_affects_no_other() -> None:
    def breaks(requests: PriceRequests, now: float) -> Catalogue:
        raise ZeroDivisionError("by nought")

    look = once("json", Filter(), ScriptedSource(breaks, name="odd"), scripted())
    assert len(json.loads(look.text)) == 4
    assert look.messages == ("failed: odd: its response cannot be understood: ZeroDivisionError",)
    assert not look.complete
