"""Settings: flags before environment before file; every error names the location, the value and the allowed values."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochcost.agent.agent_settings import AgentSettings
from epochcost.demo.demo_settings import DemoSettings
from epochcost.poller.poller_settings import PollerSettings
from epochcost.reports.report_settings import CompareSettings, ReportSettings
from epochcost.settings import (
    Duration,
    Option,
    SettingsError,
    add_flags,
    address,
    default_text,
    duration,
    load,
    options,
    spelled,
    unknown_environment,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"


def agent(flags: dict[str, str] | None = None, environ: dict[str, str] | None = None) -> AgentSettings:
    return load(AgentSettings, "agent", flags or {}, environ or {})


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "e.yml"
    file.write_text("agent:\n  node.name: file\n  node:\n    region: file\n    zone: file\n")
    it = agent(
        {"config.file": str(file), "node.name": "flag"},
        {"EPOCHCOST_NODE_NAME": "environment", "EPOCHCOST_NODE_REGION": "environment"},
    )
    assert (it.node_name, it.node_region, it.node_zone) == ("flag", "environment", "file")


def test_a_bare_off_in_the_file_is_the_string_off(tmp_path: Path) -> None:
    file = tmp_path / "e.yml"
    file.write_text("agent:\n  node.metadata: off\n")
    assert agent({"config.file": str(file)}).node_metadata == "off"


def test_the_file_may_be_named_by_the_environment_and_hold_lists(tmp_path: Path) -> None:
    file = tmp_path / "e.yml"
    file.write_text("prices:\n  prices.sources: [owned, listed]\n")
    it = load(PollerSettings, "prices", {}, {"EPOCHCOST_CONFIG_FILE": str(file)})
    assert it.prices_sources == ("owned", "listed")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("agent: [1]", "agent: must be a mapping"),
        ("- 1", "must be a mapping of sections: agent, prices, report"),
        ("agents: {}", "unknown section 'agents'; allowed: agent, prices"),
        ("agent: {node.nmae: x}", "unknown setting 'node.nmae'; allowed: "),
        ("agent: {node: {nmae: x}}", "unknown setting 'node.nmae'"),
        ("agent: {sample.interval: 0s}", "agent: sample.interval: '0s' is not valid: expected a duration"),
        ("agent: {states.busy-ratio: 2}", "states.busy-ratio: '2' is not valid: expected a number from 0 to 1"),
        ("a: [", "is not valid YAML"),
        ("\x00", "is not valid YAML"),
        ("a: 2026-13-45", "is not valid YAML: it contains a date or a number that does not exist"),
        ("[" * 3000, "is not valid YAML: it is nested too deeply"),
    ],
)
def test_a_wrong_file_is_named_with_key_and_value(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "e.yml"
    file.write_text(content)
    with pytest.raises(SettingsError) as caught:
        agent({"config.file": str(file)})
    assert message in str(caught.value)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("EPOCHCOST_SAMPLE_INTERVAL", "fast", "EPOCHCOST_SAMPLE_INTERVAL: 'fast' is not valid: expected a duration"),
        ("EPOCHCOST_PRICE_USD_PER_HOUR", "inf", "expected a finite number"),
        ("EPOCHCOST_GPUS_SOURCE", "cuda", "allowed: auto, "),
        ("EPOCHCOST_PRICE_USD_PER_HOUR", "dear", "expected a finite number"),
        ("EPOCHCOST_PRICES_URL", "ftp://x", "expected http://HOST:PORT"),
        ("EPOCHCOST_PRICES_URL", "http://x:99999", "expected http://HOST:PORT"),
        ("EPOCHCOST_PRICES_URL", "http://x:port", "expected http://HOST:PORT"),
        ("EPOCHCOST_PRICES_URL", "http://[::1", "expected http://HOST:PORT"),
        ("EPOCHCOST_NODE_PURCHASE_OPTION", "Spot", "allowed: on_demand, spot, reserved, owned or nothing"),
        ("EPOCHCOST_WEB_LISTEN_ADDRESS", "127.0.0.1:99999", "port of 0 to 65535"),
    ],
)
def test_a_wrong_variable_is_named_with_the_allowed_values(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        agent({}, {name: value})
    assert name in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda path: None, "cannot be read: No such file or directory"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_once(tmp_path: Path, write: Callable[[Path], object], says: str) -> None:
    file = tmp_path / "e.yml"
    write(file)
    with pytest.raises(SettingsError) as caught:
        agent({"config.file": str(file)})
    assert str(caught.value) == f"{file}: {says}"


def test_a_long_value_is_named_by_its_beginning_without_a_password_in_it() -> None:
    value = f"http://ann:{'s3cret' * 40}@prices"
    with pytest.raises(SettingsError) as caught:
        agent({"sample.interval": value + "x" * 1000})
    assert "s3cret" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("url", ["http://[::1]:10836", "http://[fe80::1%eth0]:9090/prom", "https://prices.example"])
def test_a_url_may_have_an_ipv6_address_with_a_zone(url: str) -> None:
    assert load(AgentSettings, "agent", {"prices.url": url}, {}).prices_url == url


@pytest.mark.parametrize(
    "url", ["http://ann:tr0ub4dor@prices", "http://ann:tr0ub/4dor@prices:10836", "tcp://ann:tr0ub4dor@x"]
)
def test_a_url_with_a_password_is_rejected_and_the_password_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match=r"--prices\.url: '\w+://\(secret\)@") as caught:
        agent({"prices.url": url})
    assert "tr0ub" not in str(caught.value)


def test_invalid_yaml_is_named_by_line_without_its_content(tmp_path: Path) -> None:
    file = tmp_path / "e.yml"
    file.write_text("report:\n  prometheus.header: Authorization: Bearer tr0ub4dor\n")
    with pytest.raises(SettingsError, match="is not valid YAML at line 2, column 35: mapping values are not") as caught:
        agent({"config.file": str(file)})
    assert "tr0ub4dor" not in str(caught.value)


def test_addresses_and_durations_are_read_in_the_syntax_of_prometheus() -> None:
    assert address("127.0.0.1:10835") == ("127.0.0.1", 10835)
    assert address("[::1]:1") == ("::1", 1)
    assert address(":1") == ("", 1)
    assert [duration(text) for text in ("500ms", "15s", "5m", "1h", "2d")] == [0.5, 15, 300, 3600, 172800]
    for bad in ("::1:80", "x", "1.2.3.4:", "[nonsense]:1"):
        with pytest.raises(ValueError, match=r".+"):
            address(bad)


def test_nothing_listens_beyond_this_machine_unless_configured() -> None:
    assert agent().web_listen_address[0] == "127.0.0.1"
    assert load(PollerSettings, "prices", {}, {}).web_listen_address[0] == "127.0.0.1"


def test_a_misspelt_variable_is_found() -> None:
    environ = {"EPOCHCOST_NODE_NAEM": "x", "EPOCHCOST_NODE_NAME": "x", "EPOCHCOST_RUN": "x", "PATH": "x"}
    assert unknown_environment([AgentSettings], environ, ["EPOCHCOST_RUN"]) == ["EPOCHCOST_NODE_NAEM"]


PROGRAMS = [AgentSettings, PollerSettings, DemoSettings, ReportSettings, CompareSettings]
FLAGS = [(cls, name, opt) for cls in PROGRAMS for name, opt in options(cls).items() if not opt.structured]


@pytest.mark.parametrize(("cls", "name", "opt"), FLAGS, ids=[f"{cls.__name__}.{opt.flag}" for cls, _, opt in FLAGS])
def test_each_default_of_each_flag_is_accepted_as_its_value(cls: type, name: str, opt: Option) -> None:
    default = next(f.default for f in dataclasses.fields(cls) if f.name == name)
    parser = argparse.ArgumentParser()
    add_flags(parser, cls)
    text = default_text(default, opt)
    help_text = next(a.help for a in parser._actions if a.dest == opt.flag) or ""
    if not text:
        assert default in ("", None, ())
        assert "default" not in help_text.rpartition("[env")[2]
        return
    assert opt.parse(text) == default
    assert f", default {text}]".replace("%", "%%") in help_text
    if isinstance(opt.parse, Duration):  # as a number of seconds, and as Python writes it
        assert opt.parse(f"{default:g}") == opt.parse(repr(default)) == default


def test_every_duration_has_sensible_bounds() -> None:
    durations = [(cls, opt) for cls, _, opt in FLAGS if isinstance(opt.parse, Duration)]
    assert len(durations) > 15
    assert [opt.flag for _, opt in durations if opt.parse == Duration()] == []


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "0s", "1e3", "1 h", "h", "5 m", "1h30m", "inf", "nan", "\u0663s", "99999d", "1.5.2s", "1s\n1"],
)
def test_an_invalid_duration_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        duration(text)


@pytest.mark.parametrize(
    ("flag", "text", "bounds"),
    [
        ("sample.interval", "1h", "from 100ms to 1m"),
        ("sample.interval", "1ms", "from 100ms to 1m"),
        ("prices.interval", "366d", "from 100ms to 1d"),
        ("runs.keep", "400d", "from 1s to 30d"),
        ("states.lost-after", "0.5", "from 1s to 30d"),
        ("states.stall-after", "99d", "from 1s to 30d"),
    ],
)
def test_a_duration_out_of_bounds_is_rejected_with_its_flag_and_bounds(flag: str, text: str, bounds: str) -> None:
    with pytest.raises(SettingsError, match=f"--{flag}: '{text}' is not valid: expected a duration {bounds}"):
        load(AgentSettings, "agent", {flag: text}, {})


@given(st.floats(0.001, 3e8))
def test_a_duration_is_read_as_it_is_spelled(seconds: float) -> None:
    assert duration(spelled(seconds)) == pytest.approx(seconds, rel=1e-12)
