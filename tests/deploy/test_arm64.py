"""The package and the image's environment for arm64, run by an emulator."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.conftest import ROOT
from tests.deploy.distributions import tree_of
from tests.deploy.test_packages import build_packages
from tests.waiting import wait_for

from epochcost.demo.programs import free_port

QEMU = shutil.which("qemu-aarch64-static")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux2014_aarch64", "manylinux_2_17_aarch64")


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Debian for arm64, unpacked, with the emulator in it."""
    if os.geteuid() != 0 or not QEMU or not shutil.which("debootstrap"):
        pytest.skip("needs root, debootstrap and qemu-user-static")
    home = tmp_path_factory.mktemp("arm64")
    tree = home / "tree"
    subprocess.run(["cp", "-a", str(tree_of("bookworm", "--foreign", "--arch=arm64")), str(tree)], check=True)
    for deb in sorted((tree / "var" / "cache" / "apt" / "archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", deb, tree], check=True)
    shutil.copy(QEMU, tree / "qemu")
    yield tree
    shutil.rmtree(tree, ignore_errors=True)


def inside(tree: Path, *command: str) -> list[str]:
    """A command of the tree, with a /proc, /dev and /sys that end with it."""
    mounts = f"mount -t proc proc {tree}/proc && mount --bind /dev {tree}/dev && mount --bind /sys {tree}/sys"
    run = f'mount --make-rprivate / && {mounts} && exec chroot {tree} /qemu /usr/bin/python3.11 "$@"'
    return ["unshare", "-m", "sh", "-ec", run, "sh", *command]


def test_the_package_meters(arm: Path, tmp_path: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", build_packages(tmp_path / "packages", arch="arm64")["deb"], arm], check=True)
    program = ("-I", "/usr/lib/epochcost")
    version = subprocess.run(inside(arm, *program, "--version"), capture_output=True, text=True, check=True)
    assert version.stdout.startswith("epochcost ")
    port = free_port("127.0.0.1", 0)
    flags = ("--price.usd-per-hour=3600", "--gpus.source=none", "--node.metadata=off", "--state.dir=/root/state",
             "--events.dir=/root/events", f"--web.listen-address=127.0.0.1:{port}")  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        agent = subprocess.Popen(inside(arm, *program, "agent", *flags), stdout=log, stderr=log)

    def dollars() -> float:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
                lines = re.findall(
                    r"^epochcost_node_cost_usd_total\{.*\} (.+)$", response.read().decode(), re.MULTILINE
                )
        except OSError:
            return 0.0
        return sum(map(float, lines))

    try:
        wait_for(lambda: dollars() > 1, 120, f"the first dollars ({tmp_path}/log)")
    finally:
        agent.terminate()
        agent.wait(30)


def test_all_that_the_image_installs_can_be_imported(arm: Path) -> None:
    """The image itself was not built: its base comes from a registry."""
    command: list[str | Path] = [
               sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile",
               f"--target={arm}/opt/all", "--only-binary=:all:", "--implementation=cp",
               "--python-version=3.11"]  # fmt: skip
    wheel = arm.parent / "wheel"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheel, ROOT]
    subprocess.run(pip, check=True)
    (file,) = wheel.glob("*.whl")
    subprocess.run([*command, *(f"--platform={name}" for name in PLATFORMS), f"{file}[all]"], check=True)
    code = (
        "import sys; sys.path.insert(0, '/opt/all')\n"
        "import bcrypt, boto3, grpc, yaml, pynvml, prometheus_client, apscheduler, google.protobuf\n"
        "from google.cloud import billing_v1\n"
        "import platform, epochcost.agent.app, epochcost.poller.app; print(platform.machine(), grpc.__version__)"
    )
    completed = subprocess.run(inside(arm, "-I", "-c", code), capture_output=True, text=True, check=False, timeout=300)
    assert completed.stdout.startswith("aarch64 "), completed.stderr[-2000:]
