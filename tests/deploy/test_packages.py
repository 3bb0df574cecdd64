"""deb and rpm: installed on a Debian that boots, from the first dollar to the purge; what the rpm holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.booted import Booted
from tests.deploy.conftest import ROOT
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


def built(out: Path, version: str = "", arch: str = "amd64") -> dict[str, Path]:
    environ = {**os.environ, **({"VERSION": version} if version else {})}
    done = subprocess.run(
        [ROOT / "scripts" / "package", out, arch], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {file.suffix[1:]: file for file in out.iterdir()}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return built(tmp_path_factory.mktemp("packages"))


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
def test_nothing_in_it_is_bound_to_one_version_of_python(packages: dict[str, Path], arch: str, tmp_path: Path) -> None:
    deb = packages["deb"] if arch == "amd64" else built(tmp_path, arch=arch)["deb"]
    compiled = re.findall(r"\S+\.so", listed("dpkg-deb", "-c", deb))
    assert [Path(file).name for file in compiled] == ["_bcrypt.abi3.so"]
    out = tmp_path / "out"
    subprocess.run(["dpkg-deb", "-x", deb, out], check=True)
    (library,) = out.rglob("_bcrypt.abi3.so")
    machine = int.from_bytes(library.read_bytes()[18:20], "little")  # e_machine of the ELF header
    assert machine == {"amd64": 62, "arm64": 183}[arch]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    if os.geteuid() != 0 or not all(map(shutil.which, ("systemd-nspawn", "debootstrap", "nsenter"))):
        pytest.skip("needs root, systemd-container and debootstrap")
    it = Booted(tmp_path_factory.mktemp("booted"))
    yield it
    it.end()


def dollars(machine: Booted) -> float:
    """Of the run, settled or not."""
    return machine.figure("run_cost_usd_total", 'run="job7"') + machine.figure("run_provisional_cost_usd", 'run="job7"')


def train(machine: Booted, epochs: int, attempt: int) -> None:
    command = f"exec epochcost exec -- python3 /opt/train.py {epochs} /var/tmp/seconds-{attempt}"
    machine.start(f"train-{attempt}", f"EPOCHCOST_RUN=job7 {command}")


def test_install_first_dollar_kill_reboot_upgrade_purge(
    machine: Booted, packages: dict[str, Path], tmp_path: Path
) -> None:
    before = machine.paths()
    users = machine.run("getent passwd; getent group")

    install(machine, packages["deb"])
    assert "Ready" not in machine.run("systemctl is-active epochcost-agent || true")
    settings = machine.root / "etc" / "epochcost" / "epochcost.yml"
    settings.write_text(
        f"agent:\n  events.dir: /run/epochcost\n  price.usd-per-hour: {USD_PER_HOUR}\n  node.metadata: off\n"
    )
    container_shows_its_own_boot(machine)
    assert machine.run("epochcost check --config.file=/etc/epochcost/epochcost.yml")
    machine.run("systemctl enable --now epochcost-agent; useradd ada")
    (machine.root / "opt" / "train.py").write_text(TRAINING)

    train(machine, 999, 1)
    wait_for(lambda: dollars(machine) > 2, 60, "the first dollars")
    machine.run("systemctl kill --kill-who=main -s KILL epochcost-agent")
    wait_for(lambda: "active" in machine.run("systemctl is-active epochcost-agent || true").split(), 30, "its restart")
    at_kill = wait_for(lambda: dollars(machine), 30, "the run after kill -9")
    wait_for(lambda: dollars(machine) > at_kill + 2, 60, "the run going on")

    machine.reboot()
    first = float(machine.run("cat /var/tmp/seconds-1"))
    assert machine.run("stat -c '%a %U' /run/epochcost").strip() == "1777 epochcost"
    kept = wait_for(lambda: dollars(machine), 60, "the run after the reboot")
    assert kept == pytest.approx(first, abs=3)
    train(machine, 6, 2)
    wait_for(lambda: not machine.running("train-2"), 60, "the end of the second attempt")
    second = float(machine.run("cat /var/tmp/seconds-2"))
    wait_for(lambda: machine.figure("run_state", 'state="finished"'), 30, "the agent having read its end")
    total = dollars(machine)
    assert total == pytest.approx(first + second, abs=4)  # starts of two interpreters, and what came before the epochs

    install(machine, built(tmp_path, NEWER)["deb"])
    assert str(USD_PER_HOUR) in settings.read_text()
    assert NEWER in machine.run("dpkg-query -W epochcost")
    assert wait_for(lambda: dollars(machine), 60, "the run after the upgrade") == pytest.approx(total, abs=0.01)

    a_directory_for_each_user(machine)
    assert dollars(machine) == pytest.approx(total, abs=0.01)

    machine.run("dpkg --purge epochcost; userdel ada")
    machine.run("rm -rf /etc/systemd/system/epochcost-agent.service.d /opt/train.py /var/tmp/seconds-*")
    assert machine.paths() - before == set()
    assert machine.run("getent passwd; getent group") == users
    assert machine.run("systemctl --no-legend list-units 'epochcost*'; ls -d /run/epochcost* 2>/dev/null || true") == ""


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
