"""Where the ledger is kept, whether it outlives a boot there, and who may report to the machine's events directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from epochcost.agent.agent_state_file import StateError, StateFile
from epochcost.agent.state_directory import adopt, agent_state_dir, file_system, volatile
from epochcost.demo.programs import free_port
from epochcost.training.directory import SYSTEM

MOUNTS = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:20 / /run rw,nosuid shared:2 - tmpfs tmpfs rw,size=1000k
24 22 0:21 / /srv/a\040disk rw master:1 - xfs /dev/vdb rw
25 23 0:22 / /run/kept rw - ext4 /dev/vdc rw
26 22 0:23 / /hidden rw - tmpfs tmpfs rw
27 22 0:24 / /hidden rw - ext4 /dev/vdd rw
28 22 0:25 / /layers rw - overlay overlay rw,upperdir=/u
nonsense
"""


@pytest.fixture
def tmp_path(disk_path: Path) -> Path:
    return disk_path


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/epochcost", "ext4"),
        ("/run/epochcost/state", "tmpfs"),
        ("/runner", "ext4"),
        ("/run/kept/x", "ext4"),
        ("/srv/a disk/x", "xfs"),
        ("/hidden/x", "ext4"),
        ("/layers", "overlay"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_innermost_and_last_mount(mounts: Path, path: str, kind: str) -> None:
    assert file_system(Path(path), mounts) == kind


def test_memory_and_layers_of_containers_are_volatile_and_nothing_else_is(mounts: Path, tmp_path: Path) -> None:
    assert volatile(Path("/run/x"), mounts) == "tmpfs, in memory"
    assert volatile(Path("/layers/x"), mounts) == "overlay, a layer of this container"
    assert volatile(Path("/srv"), mounts) == ""
    assert volatile(Path("/srv"), tmp_path / "no such file") == ""


def test_the_configured_directory_comes_first_then_systemds_then_the_machines(tmp_path: Path) -> None:
    machine = tmp_path / "machine"
    systemd = {"STATE_DIRECTORY": "/var/lib/one:/var/lib/two"}
    assert agent_state_dir("/there", SYSTEM, systemd, machine) == Path("/there")
    assert agent_state_dir("", SYSTEM, systemd, machine) == Path("/var/lib/one")
    assert agent_state_dir("", tmp_path, {}, machine) == tmp_path / "state"
    machine.mkdir(mode=0o700)
    assert agent_state_dir("", SYSTEM, {}, machine) == machine
    machine.chmod(0o777)
    assert agent_state_dir("", SYSTEM, {}, machine) == SYSTEM / "state"


def test_a_link_or_a_file_is_not_used_as_the_machines_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        assert agent_state_dir("", SYSTEM, {}, tmp_path / name) == SYSTEM / "state"


def test_a_ledger_beside_the_events_moves_once_to_a_durable_directory(tmp_path: Path) -> None:
    earlier, durable = tmp_path / "events/state", tmp_path / "lib"
    old = StateFile(earlier)
    old.save({"meter": 1})
    with pytest.raises(StateError, match="another epochcost agent"):
        in_another_process(earlier, durable)
    old.close()
    adopt(earlier, durable)
    assert not (earlier / "agent-state.json").exists()
    assert json.loads((durable / "agent-state.json").read_text())["meter"] == 1
    assert (durable / "agent-state.json").stat().st_mode & 0o777 == 0o600
    again = StateFile(earlier)
    again.save({"meter": 2})
    again.close()
    adopt(earlier, durable)
    assert json.loads((durable / "agent-state.json").read_text())["meter"] == 1


def in_another_process(earlier: Path, durable: Path) -> None:
    """A process is not blocked by its own locks."""
    program = "import sys; from pathlib import Path; from epochcost.agent.state_directory import adopt; "
    program += "adopt(Path(sys.argv[1]), Path(sys.argv[2]))"
    completed = subprocess.run(
        [sys.executable, "-c", program, str(earlier), str(durable)], capture_output=True, text=True, check=False
    )
    if completed.returncode:
        raise StateError(completed.stderr)


@pytest.mark.parametrize("hostile", ["link", "pipe", "open to all"])
def test_files_of_others_beside_the_events_are_never_used_as_a_ledger(tmp_path: Path, hostile: str) -> None:
    earlier, durable = tmp_path / "events/state", tmp_path / "lib"
    earlier.mkdir(parents=True, mode=0o700)
    state = earlier / "agent-state.json"
    if hostile == "link":
        (tmp_path / "theirs").write_text("{}")
        state.symlink_to(tmp_path / "theirs")
    elif hostile == "pipe":
        os.mkfifo(state)
    else:
        state.write_text("{}")
        earlier.chmod(0o777)
    adopt(earlier, durable)
    assert not (durable / "agent-state.json").exists()


def check(*flags: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "epochcost", "check", "--gpus.source=none", "--price.usd-per-hour=1", *flags]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EPOCHCOST_")}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean | (env or {}), check=False)


@pytest.mark.skipif(file_system(Path("/dev/shm")) != "tmpfs", reason="no tmpfs at /dev/shm")
def test_check_names_a_ledger_that_does_not_survive_a_boot(tmp_path: Path) -> None:
    completed = check(f"--events.dir={tmp_path}", "--state.dir=/dev/shm/epochcost-state")
    assert completed.returncode == 1
    assert "the ledger in /dev/shm/epochcost-state is lost with the next boot (tmpfs, in memory)" in completed.stderr
    assert not Path("/dev/shm/epochcost-state").exists()
    on_disk = check(f"--events.dir={tmp_path}", f"--state.dir={tmp_path}")
    assert f"ledger        {tmp_path}" in on_disk.stdout
    assert on_disk.returncode == (1 if volatile(tmp_path) else 0)


def in_own_mount_namespace(script: str) -> str:
    """What ``script`` prints as root of a mount namespace with an empty /run in memory and a /var/lib of its own."""
    alone = "mount -t tmpfs -o mode=755 none /run && mount --bind $LIB /var/lib && cd /\n"
    completed = subprocess.run(
        ["unshare", "-m", "bash", "-ec", alone + script], capture_output=True, text=True, check=False
    )
    return completed.stdout + completed.stderr


def may_make_namespaces() -> bool:
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/run"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


alone = pytest.mark.skipif(not may_make_namespaces(), reason="needs root and mount namespaces")
AGENT = """
agent() { env -u XDG_RUNTIME_DIR $PYTHON -m epochcost agent --price.usd-per-hour=3600 --node.metadata=off \\
  --gpus.source=none --web.listen-address=127.0.0.1:$PORT > /run/agent.log 2>&1 & A=$!
  until curl -sf 127.0.0.1:$PORT/-/ready > /dev/null; do kill -0 $A; sleep 0.1; done; }
train() { EPOCHCOST_RUN=job7 $PYTHON -c '
import time, epochcost
with epochcost.run("x", epochs=2) as run:
    for epoch in run.epochs('$1'):
        time.sleep(0.5)
        if epoch == '$1': break'; }
cost() { curl -s 127.0.0.1:$PORT/metrics | grep -E "^epochcost_run_cost_usd_total.*job7" | grep -oE "[0-9.e+-]+$"; }
paid() { for _ in $(seq 100); do test -n "$(cost)" && awk "BEGIN {exit !($(cost) > $1)}" && return; sleep 0.1; done; }
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LIB": tmp_path, "PYTHON": sys.executable, "PORT": free_port("127.0.0.1", 0)}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("EPOCHCOST_DIR", raising=False)


@alone
@pytest.mark.usefixtures("machine")
def test_with_an_installation_as_in_the_readme_a_reboot_loses_no_dollar_of_a_run() -> None:
    output = in_own_mount_namespace(
        AGENT
        + """
agent; train 0; paid 0.4; kill $A; wait $A || true
umount /var/lib; umount /run; mount -t tmpfs -o mode=755 none /run; mount --bind $LIB /var/lib
agent; train 1; paid 0.9; echo after $(cost); kill $A; wait $A || true
"""
    )
    assert "after " in output, output
    assert float(output.split("after ")[1].split()[0]) > 0.9, output


@alone
@pytest.mark.usefixtures("machine")
def test_check_names_a_machine_wide_events_directory_that_users_cannot_write() -> None:
    """A prolog created it first, with root's umask."""
    output = in_own_mount_namespace(
        AGENT
        + """
mkdir -p /run/epochcost/slurm
look() { $PYTHON -m epochcost check --price.usd-per-hour=1 --node.metadata=off --gpus.source=none || echo rc $?; }
look; agent; kill $A; wait $A || true; cat /run/agent.log; ls -ld /run/epochcost
chgrp 65534 /run/epochcost; chmod 0775 /run/epochcost; echo NEXT; look 2>&1
"""
    )
    shut, _, a_group = output.partition("NEXT")
    assert "other users cannot write to /var/run/epochcost (mode 0755): chmod 1777 /var/run/epochcost" in output
    assert "rc 1" in shut, output
    assert "WARNING epochcost.agent.agent_places: events: other users cannot write" in shut, output
    assert "Ready: the agent can run here" in a_group, output
