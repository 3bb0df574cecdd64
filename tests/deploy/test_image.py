"""The Dockerfile, checked by hadolint."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from tests.deploy.conftest import ROOT


def test_hadolint_finds_nothing() -> None:
    if not shutil.which("hadolint"):
        pytest.skip("scripts/test-deploy installs hadolint")
    completed = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout


def test_build_tools_are_not_in_the_image_and_no_user_is_root() -> None:
    build, _, final = (ROOT / "Dockerfile").read_text().partition("\n\nFROM ")
    assert " AS build\n" in build
    assert "COPY --from=build /opt/epochcost /opt/epochcost" in final
    assert "pip uninstall" in final
    assert "USER 65532:65532" in final
