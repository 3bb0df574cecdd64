"""The pages by role, followed literally: the blocks of commands and settings are run exactly as written.

Each in a network, a /run, an /etc and a /var/lib of its own, so that nothing of this machine changes. Only the package
comes from this checkout, by pip's own settings.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import time
import venv
from collections.abc import Callable
from pathlib import Path

import promql_parser  # type: ignore[import-untyped]
import pytest
from tests.deploy.conftest import ROOT
from tests.deploy.slurm_cluster import CONF, SBIN

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
  for _ in $(seq 1 900); do if eval "$1" >/dev/null 2>&1; then return 0; fi; sleep 0.1; done
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


FOLLOWED = {
    "one-gpu": [
        "installed, the agent started",
        "run",
        "not run here: apt and systemd; test_packages.py installs the deb on Debian and Ubuntu that boot",
    ],
    "existing-prometheus": ["the agent's settings", "run", "Prometheus' settings"],
    "kubernetes": [
        "rendered, and strictly valid in test_chart.py; not installed: no cluster can be had",
        "in examples/kubernetes, valid in test_kubernetes_examples.py; not started: no cluster can be had",
        "rendered; not installed: no cluster can be had",
    ],
    "slurm": [
        "run, but for systemctl: test_packages.py starts the unit with this drop-in on a Debian that boots",
        "Slurm's settings",
        "asked of Prometheus in test_slurm.py by the same rule",
        "PromQL; its rule and sum have a test with values, prometheus/rules/tests/slurm.yml",
        "PromQL; no exporter of Slurm can be had here",
    ],
    "clusters": ["run, with the flag that the page names for Prometheus 2"],
}
"""Each code block of each page in order: what becomes of it here."""


def every_block(page: str) -> list[str]:
    return re.findall(r"^```\w+\n.*?^```", (DOCS / f"{page}.md").read_text(), re.DOTALL | re.MULTILINE)


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


def follow(script: str, directory: Path, environ: dict[str, str]) -> tuple[str, float]:
    """Returns what ``script`` printed, and the seconds it took."""
    aside = directory / "aside"
    aside.mkdir()
    started_at = time.monotonic()
    completed = subprocess.run(
        ["unshare", "-n", "-m", "bash", "-euc", ALONE + script],
        capture_output=True, text=True, cwd=directory, env={**environ, "ASIDE": str(aside)}, check=False, timeout=600,
    )  # fmt: skip
    assert completed.returncode == 0, completed.stdout[-3000:] + completed.stderr[-3000:]
    return completed.stdout, time.monotonic() - started_at


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_is_run_or_listed_as_not_run(page: str, record_property: Callable[..., None]) -> None:
    assert len(every_block(page)) == len(FOLLOWED[page])
    for number, what in enumerate(FOLLOWED[page], start=1):
        record_property("page", f"{page}.md, block {number}: {what}")


@needs_root
def test_one_rented_gpu(tmp_path: Path, environ: dict[str, str], record_property: Callable[..., None]) -> None:
    install, run = blocks("one-gpu", "sh")[:2]
    (tmp_path / "train.py").write_text(TRAINING)
    pip, agent = install.split("\n", 1)
    subprocess.run(["bash", "-euc", pip], env=environ, cwd=tmp_path, check=True)
    three_epochs = 'get http://127.0.0.1:10835/metrics | grep "^epochcost_run_epochs_total{.*} 3.0$"'
    ready = "get http://127.0.0.1:10835/-/ready"
    script = f"{agent}\nuntil_it '{ready}'\n{run}\nuntil_it '{three_epochs}'\nget http://127.0.0.1:10835/metrics\n"
    output, seconds = follow(script, tmp_path, environ)
    assert re.search(r"^epochcost_run_epochs_total\{.*\} 3\.0$", output, re.MULTILINE)
    assert re.search(r"^epochcost_run_cost_usd_total\{", output, re.MULTILINE)
    record_property("page", f"one-gpu.md: {seconds / 60:.1f} minutes after pip")


@needs_root
def test_an_existing_prometheus(tmp_path: Path, environ: dict[str, str], record_property: Callable[..., None]) -> None:
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
for _ in $(seq 1 240); do if get "$url" | grep -q '"value"'; then get "$url"; exit 0; fi; sleep 1; done 2>/dev/null
for log in *.log; do tail -n 3 $log; done; exit 8
"""
    output, seconds = follow(script, tmp_path, environ)
    assert "epochcost_machine" in output
    record_property("page", f"existing-prometheus.md: {seconds / 60:.1f} minutes after pip")


def test_the_command_of_the_kubernetes_page_renders(helm: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    install = blocks("kubernetes", "sh")[0].partition("helm test")[0].replace("\\\n", " ")
    command = shlex.split(install)
    assert command[:2] == ["helm", "install"]
    arguments = [str(ROOT / word) if word.startswith("deploy/") else word for word in command[2:]]
    completed = helm("template", *arguments)
    assert completed.returncode == 0, completed.stderr
    assert "kind: DaemonSet" in completed.stdout


JOB = """\
#!/bin/bash
#SBATCH --job-name=paged --output=/tmp/paged --chdir=/tmp
epochcost exec -- python3 $PLACE/train.py
sleep 3
epochcost job
"""
"""A batch script as the page says: a command that reports, and the line that prints what the job cost."""


@needs_root
@pytest.mark.skipif(not (SBIN / "slurmctld").exists(), reason="needs Debian's slurm-wlm")
def test_slurm(tmp_path: Path, environ: dict[str, str], record_property: Callable[..., None]) -> None:
    (commands,) = blocks("slurm", "sh")
    (settings,) = blocks("slurm", "ini")
    subprocess.run(["bash", "-euc", "pip install 'epochcost[agent]'"], env=environ, cwd=tmp_path, check=True)
    runnable, _, systemd = commands.rpartition("systemctl daemon-reload")
    assert systemd.strip() == "&& systemctl enable --now epochcost-agent"
    host = socket.gethostname().partition(".")[0]
    where = f"NodeHostname={host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory=1000 State=UNKNOWN"
    nodes = f"NodeName=one Port=6818 {where}\nNodeName=two Port=6819 {where}"
    base = CONF.format(host=host, home=tmp_path, port=6817, nodes=nodes)
    replaced = re.compile(r"^(Prolog|Epilog|TaskProlog|PrologFlags|GresTypes)=.*\n", re.MULTILINE)
    (tmp_path / "slurm.conf").write_text(replaced.sub("", base) + settings)
    (tmp_path / "train.py").write_text(TRAINING)
    (tmp_path / "job.sh").write_text(JOB.replace("$PLACE", str(tmp_path)))
    unit = (ROOT / "deploy" / "slurm" / "agent.conf").read_text()
    (dirs,) = re.findall(r"^Environment=(EPOCHCOST_EVENTS_USER_DIRS=\S+)$", unit, re.MULTILINE)
    script = f"""
{runnable}
install -d -m 0711 /run/epochcost-users
{dirs} epochcost agent --price.usd-per-hour=3600 --gpus.source=none --node.metadata=off 2>agent.log &
until_it 'get http://127.0.0.1:10835/-/ready'
# Slurm opens no socket where all addresses are loopback ones.
ip addr add 192.0.2.1/32 dev lo scope global
mkdir -p munge state && head -c 128 /dev/urandom > munge/key && chmod 400 munge/key
export SLURM_CONF=$PWD/slurm.conf
munged -F -f --socket=$PWD/munge/munge.sock --key-file=$PWD/munge/key --pid-file=$PWD/munge/pid \\
  --log-file=$PWD/munge/log --seed-file=$PWD/munge/seed 2>munged.log &
until_it '[ -S munge/munge.sock ]'
slurmctld -D 2>slurmctld.log & slurmd -D -N one 2>slurmd.log &
until_it 'sinfo -h -n one -o %T | grep -q idle'
rm -f /tmp/paged # of a run before
sbatch job.sh
until_it 'grep -q "epochcost: job" /tmp/paged'
until_it 'get http://127.0.0.1:10835/metrics | grep "^epochcost_run_info{{.*slurm_partition="'
cat /tmp/paged; get http://127.0.0.1:10835/metrics
"""
    output, seconds = follow(script, tmp_path, environ)
    assert re.search(r"^epochcost: job \d+: run \d+, finished, 3 epochs, .*\$\d", output, re.MULTILINE)
    assert re.search(r'^epochcost_run_info\{.*slurm_partition="gpu"', output, re.MULTILINE)
    record_property("page", f"slurm.md: {seconds / 60:.1f} minutes after pip, Slurm's own start included")


@needs_root
@pytest.mark.skipif(not shutil.which("victoria-metrics"), reason="needs Debian's victoria-metrics")
def test_one_store_for_two_clusters(
    tmp_path: Path, environ: dict[str, str], record_property: Callable[..., None]
) -> None:
    """The page's command in each cluster, its configuration changed as documented, vmalert as documented."""
    (command,) = blocks("clusters", "sh")
    command = command.partition("#")[0].strip()
    version = subprocess.run(["prometheus", "--version"], capture_output=True, text=True, check=True).stdout
    if "version 2." in version:
        assert "# Prometheus 2: --enable-feature=agent" in (DOCS / "clusters.md").read_text()
        command = command.replace("--agent", "--enable-feature=agent")
    example = (ROOT / "prometheus" / "examples" / "remote-write.yml").read_text()
    for cluster, port in (("eu", 10835), ("us", 10935)):
        (tmp_path / cluster).mkdir()
        configuration = example.replace("cluster: eu", f"cluster: {cluster}").replace(
            "node-1:10835", f"127.0.0.1:{port}"
        )
        configuration = configuration.replace("http://victoria-metrics:8428", "http://127.0.0.1:8428")
        (tmp_path / cluster / "remote-write.yml").write_text(configuration)
    (vmalert,) = re.findall(r"`(vmalert [^`]+)`", (DOCS / "clusters.md").read_text())
    vmalert = vmalert.replace("notifier.url=...", "notifier.url=http://127.0.0.1:9").replace(
        "=...", "=http://127.0.0.1:8428"
    )
    subprocess.run(["bash", "-euc", "pip install 'epochcost[agent]'"], env=environ, cwd=tmp_path, check=True)
    script = f"""
victoria-metrics -storageDataPath=data 2>store.log &
until_it 'get http://127.0.0.1:8428/health'
for at in eu:10835:2 us:10935:3; do
  cluster=${{at%%:*}} rest=${{at#*:}}
  epochcost agent --price.usd-per-hour=${{rest#*:}} --gpus.source=none --node.metadata=off --machine.name=gpu-1 \\
    --web.listen-address=127.0.0.1:${{rest%:*}} --events.dir=$PWD/$cluster/events --state.dir=$PWD/$cluster/state \\
    2>$cluster/agent.log &
  # Two on one machine: else Debian's keep what they have not sent yet in one place.
  (cd $cluster && exec {command} --storage.agent.path=data-agent \\
    --web.listen-address=127.0.0.1:$((${{rest%:*}} - 1000)) 2>prometheus.log) &
done
epochcost rules --out rules
(cd rules && exec {vmalert} 2>../vmalert.log) &
url='http://127.0.0.1:8428/api/v1/query?nocache=1&query=sum%20by%20(cluster)%20(node:epochcost_price_usd_per_hour:unified)'
for _ in $(seq 1 480); do
  if get "$url" | grep '"us"' | grep -q '"eu"'; then get "$url"; exit 0; fi; sleep 1
done 2>/dev/null
for log in *.log */*.log; do echo "== $log"; tail -n 3 $log; done; exit 8
"""
    output, seconds = follow(script, tmp_path, environ)
    assert re.search(r'"cluster":"eu"\},"value":\[[\d.]+,"2"\]', output)
    assert re.search(r'"cluster":"us"\},"value":\[[\d.]+,"3"\]', output)
    record_property("page", f"clusters.md: {seconds / 60:.1f} minutes after pip, both clusters and the store")


@pytest.mark.parametrize("page", PAGES)
def test_the_queries_of_a_page_are_promql(page: str) -> None:
    for block in blocks(page, "promql"):
        assert promql_parser.parse(block.strip())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_lists_time_ports_and_outgoing_traffic(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text()
    assert len(text.splitlines()) <= 110
    for word in ("Time:", "Ports:", "leaves"):
        assert word in text
