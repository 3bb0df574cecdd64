"""`epochcost --version` names the commit: as git knows it in a checkout, as the build wrote it in a wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from epochcost.cli import main
from epochcost.shipped import CHECKOUT


def test_a_checkout_reports_its_current_commit(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["git", "-C", str(CHECKOUT), "rev-parse", "--short=12", "HEAD"]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode:
        pytest.skip("not a git checkout")
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0
    assert f"(commit {completed.stdout.strip()})" in capsys.readouterr().out


def test_a_wheel_reports_the_commit_that_it_was_built_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCHCOST_COMMIT", "0123456789ab")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(CHECKOUT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from epochcost.cli import main; main()"
    completed = subprocess.run(
        [sys.executable, "-I", "-c", start, str(tmp_path / "site"), "version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "(commit 0123456789ab)" in completed.stdout
