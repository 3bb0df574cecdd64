"""The pages by role, followed word for word: the blocks of commands and settings are run as they are written there.

Each in a network, a /run, an /etc and a /var/lib of its own, so that nothing of this machine changes. Only the package
comes from this checkout, by pip's own settings.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path

import promql_parser  # type: ignore[import-untyped]
import pytest
from tests.deploy.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = ("one-gpu", "existing-prometheus", "kubernetes", "slurm", "clusters")
ALONE = """
mount --make-rprivate / && mount -t tmpfs none "$ASIDE"
for place in /etc /var/lib; do
  mkdir -p "$ASIDE/u$place" "$ASIDE/w$place"
  mount -t overlay overlay -o "lowerdir=$place,upperdir=$ASIDE/u$place,workdir=$ASIDE/w$place" "$place"
done
mount -t tmpfs -o mode=755 none /run
ip link set lo up
until_it() {
  for _ in $(seq 1 200); do if eval "$1" >/dev/null 2>&1; then return 0; fi; sleep 0.1; done
  echo "never: $1"; exit 9
}
get() { python -c "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())" "$1"; }
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
"""
TRAINING = """
import time
for epoch in range(1, 4):
    time.sleep(0.5)
    print(f"epoch {epoch}/3 loss={1 / epoch:.3f}", flush=True)
"""
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"), reason="needs root, unshare and ip"
)


def blocks(page: str, language: str) -> list[str]:
    """The page's blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / f"{page}.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A clean virtual environment whose pip finds this checkout's wheel under the package's name."""
    home = tmp_path_factory.mktemp("pages")
    venv.create(home / "venv", with_pip=True)
    bin_ = home / "venv" / "bin"
    subprocess.run([bin_ / "python", "-m", "pip", "wheel", "-q", "--no-deps", "-w", home / "wheels", ROOT], check=True)
    path = f"{bin_}:/usr/sbin:/usr/bin:/sbin:/bin"
    return {**os.environ, "PATH": path, "PIP_FIND_LINKS": str(home / "wheels"), "PIP_QUIET": "2", "PYTHONPATH": ""}


def follow(script: str, place: Path, environ: dict[str, str]) -> tuple[str, float]:
    """What ``script`` printed, and the seconds it took."""
    aside = place / "aside"
    aside.mkdir()
    began = time.monotonic()
    done = subprocess.run(
        ["unshare", "-n", "-m", "bash", "-euc", ALONE + script],
        capture_output=True, text=True, cwd=place, env={**environ, "ASIDE": str(aside)}, check=False, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout, time.monotonic() - began


@needs_root
def test_one_rented_gpu(tmp_path: Path, environ: dict[str, str]) -> None:
    install, run = blocks("one-gpu", "sh")[:2]
    (tmp_path / "train.py").write_text(TRAINING)
    pip, agent = install.split("\n", 1)
    subprocess.run(["bash", "-euc", pip], env=environ, cwd=tmp_path, check=True)
    script = f"{agent}\nuntil_it 'get http://127.0.0.1:10835/-/ready'\n{run}\nget http://127.0.0.1:10835/metrics\n"
    said, seconds = follow(script, tmp_path, environ)
    assert re.search(r"^epochcost_run_epochs_total\{.*\} 3\.0$", said, re.MULTILINE)
    assert re.search(r"^epochcost_run_cost_usd_total\{", said, re.MULTILINE)
    sys.stdout.write(f"one-gpu.md: {seconds:.0f} s after pip\n")


@needs_root
def test_a_prometheus_that_is_there(tmp_path: Path, environ: dict[str, str]) -> None:
    settings, prometheus = blocks("existing-prometheus", "yaml")
    (commands,) = blocks("existing-prometheus", "sh")
    subprocess.run(["bash", "-euc", "pip install 'epochcost[agent,prices]'"], env=environ, cwd=tmp_path, check=True)
    (tmp_path / "agent.yml").write_text(settings)
    (tmp_path / "prometheus.yml").write_text(prometheus)
    script = f"""
mkdir -p /etc/epochcost /etc/prometheus /run/epochcost && cp agent.yml /etc/epochcost/epochcost.yml
echo 127.0.0.1 node-1 node-2 prices >> /etc/hosts
{commands}
cp prometheus.yml /etc/prometheus/prometheus.yml
promtool check config /etc/prometheus/prometheus.yml
epochcost prices --web.listen-address=:10836 --prices.sources=owned --owned.price-usd=2000 --owned.years=2 \\
  --owned.watts=355 --owned.tariff-usd-per-kwh=0.12 2>prices.log &
export EPOCHCOST_NODE_PROVIDER=owned EPOCHCOST_NODE_INSTANCE_TYPE=desktop EPOCHCOST_NODE_PURCHASE_OPTION=owned
epochcost agent --config.file=/etc/epochcost/epochcost.yml --gpus.source=none 2>agent.log &
prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=tsdb 2>prometheus.log &
url='http://127.0.0.1:9090/api/v1/query?query=node:epochcost_price_usd_per_hour:unified'
for _ in $(seq 1 60); do if get "$url" | grep -q '"value"'; then get "$url"; exit 0; fi; sleep 1; done 2>/dev/null
for log in *.log; do tail -n 3 $log; done; exit 8
"""
    said, seconds = follow(script, tmp_path, environ)
    assert "epochcost_machine" in said
    sys.stdout.write(f"existing-prometheus.md: {seconds:.0f} s after pip\n")


def test_the_command_of_the_kubernetes_page_renders(helm: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    install = blocks("kubernetes", "sh")[0].partition("helm test")[0].replace("\\\n", " ")
    words = shlex.split(install)
    assert words[:2] == ["helm", "install"]
    arguments = [str(ROOT / word) if word.startswith("deploy/") else word for word in words[2:]]
    done = helm("template", *arguments)
    assert done.returncode == 0, done.stderr
    assert "kind: DaemonSet" in done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_asks_prometheus_is_promql(page: str) -> None:
    for block in blocks(page, "promql"):
        assert promql_parser.parse(block.strip())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_a_page_and_says_time_ports_and_what_leaves(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text()
    assert len(text.splitlines()) <= 110
    for word in ("Time:", "Ports:", "leaves"):
        assert word in text
