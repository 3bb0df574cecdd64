"""An installed package writes the same files as the repository's."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from epochcost._version import __version__
from epochcost.cli import main
from epochcost.shipped import CHECKOUT, KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_of_a_checkout_are_written_out(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made" / "here"
    assert main([kind, "--out", str(out)]) == 0
    paths = sorted(out.iterdir())
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(map(str, paths))
    assert [f.read_bytes() for f in paths] == [
        f.read_bytes() for f in sorted(KINDS[kind].files(), key=lambda f: f.name)
    ]
    for file in paths:
        if file.suffix in {".yml", ".yaml"}:
            assert yaml.safe_load(file.read_text())
        if file.suffix == ".json":
            assert json.loads(file.read_text())["uid"].startswith("epochcost-")


def test_a_second_time_is_not_an_error_but_a_changed_file_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rules", "--out", str(tmp_path)]) == 0
    assert main(["rules", "--out", str(tmp_path)]) == 0
    own_file = tmp_path / "epochcost-thresholds.yml"
    own_file.write_text("groups: []\n")
    assert main(["rules", "--out", str(tmp_path)]) == 1
    assert f"{own_file} exists and differs" in capsys.readouterr().err
    assert own_file.read_text() == "groups: []\n"


def test_an_unwritable_directory_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["dashboards", "--out", str(tmp_path / "file" / "below")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_the_wheel_contains_all_of_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    if subprocess.run([sys.executable, "-c", "import hatchling"], check=False).returncode:
        command.remove("--no-build-isolation")
    subprocess.run([*command, str(CHECKOUT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    for kind in KINDS:
        out = tmp_path / kind
        subprocess.run(
            [python, "-m", "epochcost", kind, "--out", str(out)], check=True, capture_output=True, cwd=tmp_path
        )
        expected = {file.name: file.read_bytes() for file in KINDS[kind].files()}
        assert {file.name: file.read_bytes() for file in out.iterdir()} == expected
    links_work_on_the_package_index(next(site.glob("epochcost-*.dist-info/METADATA")).read_text())


def links_work_on_the_package_index(metadata: str) -> None:
    """Each link of the readme is absolute, and leads to this version's file."""
    repository = re.search(r"^Project-URL: Repository, (.+)$", metadata, re.MULTILINE)
    assert repository is not None
    links = re.findall(r"\]\(([^)\s]+)\)", metadata)
    assert len(links) > 20
    for link in links:
        assert link.startswith(("https://", "http://127.0.0.1")), link
        if link.startswith(repository[1]):
            kind, ref, path = link.removeprefix(f"{repository[1]}/").split("/", 2)
            assert (kind in {"blob", "raw"}, ref) == (True, f"v{__version__}")
            assert (CHECKOUT / path).exists(), link
