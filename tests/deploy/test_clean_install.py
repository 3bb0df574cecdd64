"""The wheel in clean environments: extras work without packages that they do not need, and the files are valid."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import venv
from pathlib import Path

import pytest
from tests.deploy.conftest import ROOT
from tests.waiting import wait_for

from epochcost.demo.programs import free_port

ARM = ("manylinux_2_28_aarch64", "manylinux2014_aarch64", "manylinux_2_17_aarch64")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", out, ROOT], check=True)
    (file,) = out.glob("*.whl")
    return file


def environment(directory: Path, wheel: Path, extras: str) -> Path:
    """A virtual environment with the wheel and its extras; its bin."""
    venv.create(directory, with_pip=True)
    requirement = f"{wheel}[{extras}]" if extras else str(wheel)
    command: list[str | Path] = [
        directory / "bin" / "python",
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        requirement,
    ]
    subprocess.run(command, check=True, cwd=directory)
    return directory / "bin"


def has(bin_: Path, module: str) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    return subprocess.run([bin_ / "python", "-I", "-c", code], check=False).returncode == 0


def get(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as reply:
            return str(reply.read().decode())
    except OSError:
        return ""


@pytest.fixture(scope="module")
def prices(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("prices"), wheel, "prices")


def test_sources_that_need_no_sdk_start_without_one(prices: Path, tmp_path: Path) -> None:
    assert not has(prices, "boto3")
    assert not has(prices, "google")
    port = free_port("127.0.0.1", 0)
    command: list[str | Path] = [
        prices / "epochcost",
        "prices",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--state.dir={tmp_path}",
    ]
    command += ["--prices.sources=owned,listed,runpod,lambda,vast", "--owned.price-usd=2000", "--owned.years=2",
                "--owned.watts=355", "--owned.tariff-usd-per-kwh=0.12"]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            owned = 'provider="owned"'
            wait_for(lambda: owned in get(port, "/metrics"), what="the price of an owned machine")
        finally:
            process.terminate()


@pytest.mark.parametrize(
    ("source", "package", "extra"), [("aws", "boto3", "aws"), ("gcp", "google-cloud-billing", "gcp")]
)
def test_a_source_without_its_sdk_names_the_extra_that_installs_it(
    prices: Path, tmp_path: Path, source: str, package: str, extra: str
) -> None:
    key = tmp_path / "key"
    key.write_text("k")
    environ = {**os.environ, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    command: list[str | Path] = [
        prices / "epochcost",
        "prices",
        f"--prices.sources={source}",
        "--once",
        f"--gcp.api-key-file={key}",
    ]
    completed = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=tmp_path, check=False)
    assert completed.returncode == 1
    message = " ".join(completed.stderr.split())
    assert f"{package} is not installed: pip install 'epochcost[prices,{extra}]'" in message


def test_the_agent_needs_no_scheduler_and_writes_rules_and_dashboards_that_are_valid(
    wheel: Path, tmp_path: Path
) -> None:
    agent = environment(tmp_path / "agent", wheel, "agent")
    assert not has(agent, "apscheduler")
    port = free_port("127.0.0.1", 0)
    command: list[str | Path] = [
               agent / "epochcost", "agent", "--price.usd-per-hour=3600", "--gpus.source=none", "--node.metadata=off",
               f"--web.listen-address=127.0.0.1:{port}", f"--events.dir={tmp_path}/events",
               f"--state.dir={tmp_path}/state"]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: "epochcost_node_cost_usd_total" in get(port, "/metrics"), what="the first dollars")
        finally:
            process.terminate()
    for kind in ("rules", "dashboards"):
        subprocess.run([agent / "epochcost", kind, "--out", tmp_path / kind], check=True, cwd=tmp_path)
    rules = sorted((tmp_path / "rules").glob("epochcost-*.yml"))
    completed = subprocess.run(["promtool", "check", "rules", *rules], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert [json.loads(file.read_text())["uid"] for file in (tmp_path / "dashboards").iterdir()]


@pytest.mark.parametrize("tool", ["uv", "pipx"])
def test_a_tool_installer_provides_the_command(wheel: Path, tmp_path: Path, tool: str) -> None:
    if not shutil.which(tool):
        pytest.skip("scripts/test-deploy installs it")
    bin_ = tmp_path / "bin"
    places = {
        "UV_TOOL_DIR": tmp_path / "tools",
        "UV_TOOL_BIN_DIR": bin_,
        "PIPX_HOME": tmp_path / "home",
        "PIPX_BIN_DIR": bin_,
    }
    environ = {**os.environ, **{name: str(directory) for name, directory in places.items()}}
    command = ["uv", "tool", "install", "--quiet"] if tool == "uv" else ["pipx", "install", "--quiet"]
    subprocess.run([*command, f"{wheel}[agent]"], check=True, env=environ, cwd=tmp_path)
    version = subprocess.run([bin_ / "epochcost", "--version"], check=True, capture_output=True, text=True)
    assert version.stdout.startswith("epochcost ")
    subprocess.run([bin_ / "epochcost", "unit", "--out", tmp_path / "unit"], check=True)
    assert (tmp_path / "unit" / "epochcost-agent.service").exists()


def test_the_base_install_has_no_dependencies(wheel: Path, tmp_path: Path) -> None:
    bin_ = environment(tmp_path / "base", wheel, "")
    listed = subprocess.run([bin_ / "python", "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
    assert {package["name"] for package in json.loads(listed.stdout)} <= {"epochcost", "pip", "setuptools"}


@pytest.mark.parametrize("extra", ["agent", "prices", "aws", "gcp", "kubernetes", "tpu"])
def test_every_dependency_has_a_wheel_for_arm64(wheel: Path, tmp_path: Path, extra: str) -> None:
    command: list[str | Path] = [
               sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "-d", tmp_path,
               "--only-binary=:all:", "--python-version=3.12", "--implementation=cp"]  # fmt: skip
    command += [f"--platform={platform}" for platform in ARM] + [f"{wheel}[{extra}]"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr[-1000:]
    assert not [file.name for file in tmp_path.iterdir() if "x86_64" in file.name]


def test_the_sdist_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "build", "-q", "--sdist", "-o", tmp_path, ROOT], check=True)
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path / "again", source], check=True
    )
    (again,) = (tmp_path / "again").glob("*.whl")
    assert again.stat().st_size == pytest.approx(wheel.stat().st_size, rel=0.01)


def test_a_bill_of_materials_names_what_is_installed(prices: Path, tmp_path: Path) -> None:
    program = shutil.which("cyclonedx-py")
    if program is None:
        pytest.skip("scripts/test-deploy installs cyclonedx-bom")
    out = tmp_path / "sbom.cdx.json"
    subprocess.run([program, "environment", prices / "python", "-o", out], check=True, capture_output=True)
    names = {component["name"].lower().replace("_", "-") for component in json.loads(out.read_text())["components"]}
    assert {"epochcost", "prometheus-client", "apscheduler", "pyyaml", "bcrypt"} <= names
