"""The image's recipe, by the linter of such files."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from tests.deploy.conftest import ROOT


def test_hadolint_finds_nothing() -> None:
    if not shutil.which("hadolint"):
        pytest.skip("scripts/test-deploy installs hadolint")
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_builds_does_not_reach_the_image_and_nobody_is_root_in_it() -> None:
    build, _, final = (ROOT / "Dockerfile").read_text().partition("\n\nFROM ")
    assert " AS build\n" in build
    assert "COPY --from=build /opt/epochcost /opt/epochcost" in final
    assert "pip uninstall" in final
    assert "USER 65532:65532" in final
