"""deb and rpm: installed on a Debian that boots, from the first dollar to the purge; the rpm's contents."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.deploy.booted import Booted
from tests.deploy.conftest import ROOT
from tests.deploy.distributions import tree_of
from tests.waiting import wait_for

USD_PER_HOUR = 3600  # a dollar a second, so that dollars are the run's seconds
TRAINING = """\
import pathlib, sys, time
began, epochs = time.time(), int(sys.argv[1])
for epoch in range(1, 999):
    time.sleep(0.5)
    print(f"epoch {epoch}/{epochs} loss={1 / epoch:.4f}", flush=True)
    pathlib.Path(sys.argv[2]).write_text(f"{time.time() - began}")
    if epoch >= epochs:
        break
"""
NEWER = "0.999.0"


def build_packages(out: Path, version: str = "", arch: str = "amd64") -> dict[str, Path]:
    environ = {**os.environ, **({"VERSION": version} if version else {})}
    completed = subprocess.run(
        [ROOT / "scripts" / "package", out, arch], env=environ, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return {file.suffix[1:]: file for file in out.iterdir()}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_packages(tmp_path_factory.mktemp("packages"))


def listed(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_rpm_holds_what_the_deb_holds(packages: dict[str, Path]) -> None:
    in_deb = {line.split()[-1].strip(".") for line in listed("dpkg-deb", "-c", packages["deb"]).splitlines()}
    in_rpm = set(listed("rpm", "-qpl", packages["rpm"]).split())
    assert {path for path in in_deb if not path.endswith("/")} == in_rpm - {p for p in in_rpm if f"{p}/" in in_deb}
    for needed in (
        "/usr/bin/epochcost", "/usr/lib/systemd/system/epochcost-agent.service", "/usr/lib/sysusers.d/epochcost.conf",
        "/usr/lib/tmpfiles.d/epochcost.conf", "/usr/lib/epochcost/epochcost/shipped/slurm/prolog.sh",
    ):  # fmt: skip
        assert needed in in_rpm
    assert listed("rpm", "-qpc", packages["rpm"]).split() == ["/etc/epochcost/epochcost.yml"]
    assert "(python3 >= 3.10 or python3.12 or python3.11)" in listed("rpm", "-qp", "--requires", packages["rpm"])
    scripts = listed("rpm", "-qp", "--scripts", packages["rpm"])
    assert [kind for kind in ("postinstall", "preuninstall", "postuninstall") if kind in scripts] == [
        "postinstall", "preuninstall", "postuninstall",
    ]  # fmt: skip


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_nothing_in_it_depends_on_one_version_of_python(packages: dict[str, Path], arch: str, tmp_path: Path) -> None:
    deb = packages["deb"] if arch == "amd64" else build_packages(tmp_path, arch=arch)["deb"]
    compiled = re.findall(r"\S+\.so", listed("dpkg-deb", "-c", deb))
    assert [Path(file).name for file in compiled] == ["_bcrypt.abi3.so"]
    out = tmp_path / "out"
    subprocess.run(["dpkg-deb", "-x", deb, out], check=True)
    (library,) = out.rglob("_bcrypt.abi3.so")
    machine = int.from_bytes(library.read_bytes()[18:20], "little")  # e_machine of the ELF header
    assert machine == {"amd64": 62, "arm64": 183}[arch]


needs_container = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("systemd-nspawn", "debootstrap", "nsenter"))),
    reason="needs root, systemd-container and debootstrap",
)


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Callable[..., Booted]]:
    """Boots a copy of a tree."""
    machines: list[Booted] = []

    def start(tree: Path, python: str = "python3") -> Booted:
        machines.append(Booted(tmp_path / f"machine-{len(machines)}", tree, python))
        return machines[-1]

    yield start
    for it in machines:
        it.end()


def dollars(machine: Booted) -> float:
    """Dollars of the run, settled or not."""
    return machine.figure("run_cost_usd_total", 'run="job7"') + machine.figure("run_provisional_cost_usd", 'run="job7"')


def train(machine: Booted, epochs: int, attempt: int) -> None:
    command = f"exec epochcost exec -- {machine.python} /opt/train.py {epochs} /var/tmp/seconds-{attempt}"
    machine.start(f"train-{attempt}", f"EPOCHCOST_RUN=job7 {command}")


@needs_container
def test_install_first_dollar_kill_reboot_upgrade_purge(
    boot: Callable[..., Booted], packages: dict[str, Path], tmp_path: Path
) -> None:
    machine = boot(tree_of("bookworm"))
    before = machine.paths()
    users = machine.run("getent passwd; getent group")

    install(machine, packages["deb"])
    settings = first_steps(machine)

    train(machine, 999, 1)
    wait_for(lambda: dollars(machine) > 2, 60, "the first dollars")
    machine.run("systemctl kill --kill-who=main -s KILL epochcost-agent")
    wait_for(lambda: "active" in machine.run("systemctl is-active epochcost-agent || true").split(), 30, "its restart")
    at_kill = wait_for(lambda: dollars(machine), 30, "the run after kill -9")
    wait_for(lambda: dollars(machine) > at_kill + 2, 60, "the run going on")

    machine.reboot()
    first = float(machine.run("cat /var/tmp/seconds-1"))
    assert machine.run("stat -c '%a %U' /run/epochcost").strip() == "1777 epochcost"
    after_reboot = wait_for(lambda: dollars(machine), 60, "the run after the reboot")
    assert after_reboot == pytest.approx(first, abs=3)
    train(machine, 6, 2)
    wait_for(lambda: not machine.running("train-2"), 60, "the end of the second attempt")
    second = float(machine.run("cat /var/tmp/seconds-2"))
    wait_for(lambda: machine.figure("run_state", 'state="finished"'), 30, "the agent having read its end")
    total = dollars(machine)
    assert total == pytest.approx(first + second, abs=4)  # starts of two interpreters, and what came before the epochs

    install(machine, build_packages(tmp_path, NEWER)["deb"])
    assert str(USD_PER_HOUR) in settings.read_text()
    assert NEWER in machine.run("dpkg-query -W epochcost")
    assert wait_for(lambda: dollars(machine), 60, "the run after the upgrade") == pytest.approx(total, abs=0.01)

    a_directory_for_each_user(machine)
    assert dollars(machine) == pytest.approx(total, abs=0.01)

    machine.run("dpkg --purge epochcost")
    forget_what_the_test_made(machine)
    assert machine.paths() - before == set()
    assert machine.run("getent passwd; getent group") == users
    assert machine.run("systemctl --no-legend list-units 'epochcost*'; ls -d /run/epochcost* 2>/dev/null || true") == ""


def first_steps(machine: Booted) -> Path:
    """The package's message after installation; adds a user with a training script."""
    assert machine.run("systemctl is-active epochcost-agent || true").strip() == "inactive"
    settings = machine.root / "etc" / "epochcost" / "epochcost.yml"
    settings.write_text(
        f"agent:\n  events.dir: /run/epochcost\n  price.usd-per-hour: {USD_PER_HOUR}\n  node.metadata: off\n"
    )
    container_shows_its_own_boot(machine)
    assert machine.run("epochcost check --config.file=/etc/epochcost/epochcost.yml")
    machine.run("systemctl enable --now epochcost-agent; useradd ada")
    (machine.root / "opt" / "train.py").write_text(TRAINING)
    return settings


def first_run(machine: Booted) -> float:
    """A whole run; its dollars, which are the seconds that it took."""
    train(machine, 4, 1)
    wait_for(lambda: machine.figure("run_state", 'state="finished"'), 90, "the agent having read the end of the run")
    seconds = float(machine.run("cat /var/tmp/seconds-1"))
    assert dollars(machine) == pytest.approx(seconds, abs=4)
    assert machine.figure("run_epochs_total", 'run="job7"') == 4
    return dollars(machine)


def forget_what_the_test_made(machine: Booted) -> None:
    machine.run("userdel ada")
    machine.run("rm -rf /etc/systemd/system/epochcost-agent.service.d /opt/train.py /var/tmp/seconds-*")


@needs_container
@pytest.mark.parametrize("suite", ["jammy", "noble"])
def test_an_ubuntu_installs_the_same_package_with_its_own_python(
    boot: Callable[..., Booted], packages: dict[str, Path], suite: str
) -> None:
    machine = boot(tree_of(suite))
    before = machine.paths()
    install(machine, packages["deb"])
    first_steps(machine)
    first_run(machine)
    machine.run("dpkg --purge epochcost")
    forget_what_the_test_made(machine)
    assert {path for path in machine.paths() - before if "epochcost" in path} == set()


BASE_OF_9 = {"systemd": "252", "shadow-utils": "4.9", "python3": "3.9.18", "bash": "5.1", "/bin/sh": "5.1"}
"""What a RHEL 9 has installed, as far as the package asks for it: its python3 is too old."""


def empty_rpm(out: Path, name: str, provides: dict[str, str]) -> Path:
    """An rpm without files, so that a tree of another distribution counts as having these packages."""
    config = out / f"{name}.yaml"
    listed = [word if word.startswith("/") else f"{word} = {version}" for word, version in provides.items()]
    fields = {"name": name, "arch": "amd64", "version": "1.0.0", "maintainer": "nobody <nobody@localhost>",
              "description": "for a test", "provides": listed}  # fmt: skip
    config.write_text(yaml.safe_dump(fields))
    nfpm: list[str | Path] = [
        ROOT / ".venv" / "bin" / "nfpm",
        "package",
        "--config",
        config,
        "--packager",
        "rpm",
        "--target",
        out,
    ]
    completed = subprocess.run(nfpm, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    return next(out.glob(f"{name}-*.rpm"))


@needs_container
def test_the_rpm_requires_a_newer_python_runs_by_it_keeps_settings_and_leaves_the_documented_files(
    boot: Callable[..., Booted], packages: dict[str, Path], tmp_path: Path
) -> None:
    """On a Debian whose rpm knows what a RHEL 9 has, and whose python3 is a 3.9 that runs nothing."""
    machine = boot(tree_of("bookworm", extra="rpm"), python="python3.11")
    old = machine.root / "usr" / "bin" / "python3.9"
    old.write_text("#!/bin/sh\nexit 9\n")
    old.chmod(0o755)
    machine.run("ln -sf python3.9 /usr/bin/python3; mkdir -p /root/rpms")
    base, newer = empty_rpm(tmp_path, "base9", BASE_OF_9), {"python3.11": "3.11.9"}
    for file in (base, empty_rpm(tmp_path, "appstream9", newer), packages["rpm"]):
        shutil.copy(file, machine.root / "root" / "rpms" / file.name)
    rpm = packages["rpm"].name
    machine.run(f"rpm -i /root/rpms/{base.name}")
    refusal = machine.run(f"rpm -i /root/rpms/{rpm} 2>&1 || true")
    assert "(python3 >= 3.10 or python3.12 or python3.11) is needed" in refusal

    output = machine.run(f"rpm -i /root/rpms/appstream9-*.rpm && rpm -i /root/rpms/{rpm}")
    assert "systemctl enable --now epochcost-agent" in output
    settings = first_steps(machine)
    usd = first_run(machine)

    upgrade = build_packages(tmp_path / "newer", NEWER)["rpm"]
    shutil.copy(upgrade, machine.root / "root" / "rpms" / upgrade.name)
    machine.run(f"rpm -U /root/rpms/{upgrade.name}")
    assert str(USD_PER_HOUR) in settings.read_text()
    assert NEWER in machine.run("rpm -q epochcost")
    assert wait_for(lambda: dollars(machine), 60, "the run after the upgrade") == pytest.approx(usd, abs=0.01)

    machine.run("rpm -e epochcost; rm -r /root/rpms")
    assert machine.run("systemctl is-active epochcost-agent || true").strip() == "inactive"
    remaining = {path for path in machine.paths() if "epochcost" in path and not path.startswith("/etc/systemd/system")}
    assert {path for path in remaining if not path.startswith("/var/lib/epochcost")} <= {
        "/etc/epochcost", "/etc/epochcost/epochcost.yml", "/etc/epochcost/epochcost.yml.rpmsave",
    }  # fmt: skip


def a_directory_for_each_user(machine: Booted) -> None:
    """The unit with Slurm's drop-in: root with one capability reads a directory that is ada's alone."""
    machine.run(
        "epochcost slurm --out /tmp/slurm; install -D -m 0644 /tmp/slurm/agent.conf "
        "/etc/systemd/system/epochcost-agent.service.d/slurm.conf; systemctl daemon-reload; "
        "install -d -m 0700 -o ada /run/epochcost-users/ada; systemctl restart epochcost-agent"
    )
    where = "EPOCHCOST_DIR=/run/epochcost-users/ada EPOCHCOST_RUN=hers"
    machine.start("train-3", f"{where} exec epochcost exec -- python3 /opt/train.py 4 /var/tmp/seconds-3")
    wait_for(lambda: machine.figure("run_epochs_total", 'run="hers"') == 4, 60, "the epochs of ada's own directory")
    assert machine.run("ls /run/epochcost-users/ada").count(".cost.json") == 1


def container_shows_its_own_boot(machine: Booted) -> None:
    """The id of its own boot, which two protections of the unit hide under the kernel's in an nspawn container."""
    folder = machine.root / "etc" / "systemd" / "system" / "epochcost-agent.service.d"
    folder.mkdir(parents=True)
    (folder / "container.conf").write_text("[Service]\nProtectKernelTunables=no\nProtectControlGroups=no\n")
    machine.run("systemctl daemon-reload")


def install(machine: Booted, deb: Path) -> None:
    shutil.copy(deb, machine.root / "root" / "epochcost.deb")
    machine.run("DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /root/epochcost.deb; rm /root/epochcost.deb")
