"""Third-party parts of the build: pinned by digest, audited, and given minimal rights."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from scripts.pin import ACTION, IMAGE, files, pinned, unpinned

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DIGEST = "sha256:" + "a" * 64
DOCKERFILE = "FROM python:3.12.1-slim AS build\nRUN x\nFROM python:3.12.1-slim\nCOPY --from=build /a /a\n"
COMPOSE = "services:\n  a:\n    image: prom/prometheus:v3.5.0\n"
WORKFLOW = "steps:\n  - uses: actions/checkout@v4\n  - uses: pypa/publish@release/v1\n  - run: echo uses a@b\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".github/workflows").mkdir(parents=True)
    (tmp_path / ".github/workflows/test.yml").write_text(WORKFLOW)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "docker-compose.yml").write_text(COMPOSE)
    return tmp_path


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """An environment in which git finds these actions on this disk, and a docker that knows one digest."""
    actions = tmp_path / "actions"
    for name, refs in (("actions/checkout", ["v4"]), ("pypa/publish", ["release/v1"])):
        repository = actions / name
        repository.mkdir(parents=True)
        git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@localhost"]
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
        for ref in refs:
            kind = ["branch", ref] if "/" in ref else ["tag", "-a", "-m", "a", ref]
            subprocess.run([*git, *kind], check=True)
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho {DIGEST}\n")
    program.chmod(0o755)
    rewritten = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{actions}/.insteadOf"}
    return {**rewritten, "GIT_CONFIG_VALUE_0": "https://github.com/", "PATH": f"{program.parent}:{os.environ['PATH']}"}


def run(project: Path, *flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from pathlib import Path; from scripts.pin import main; sys.exit(main(Path(sys.argv.pop(1))))"
    command = [sys.executable, "-c", code, str(project), *flags]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **env}, check=False, timeout=60
    )


def test_references_with_only_a_tag_are_named(project: Path):
    completed = run(project, "--check")
    assert completed.returncode == 1
    assert completed.stderr.count("has a tag and no digest") == 5
    assert "actions/checkout@v4" in completed.stderr
    assert (project / "Dockerfile").read_text() == DOCKERFILE


def test_every_reference_gets_its_digest_and_keeps_its_tag_for_people_and_updates(
    project: Path, offline: dict[str, str], tmp_path: Path
):
    assert run(project, **offline).returncode == 0
    assert (project / "Dockerfile").read_text().count(f"FROM python:3.12.1-slim@{DIGEST}") == 2
    assert f"image: prom/prometheus:v3.5.0@{DIGEST}\n" in (project / "docker-compose.yml").read_text()
    text = (project / ".github/workflows/test.yml").read_text()
    head = ["git", "-C", str(tmp_path / "actions/actions/checkout"), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    assert f"uses: actions/checkout@{commit} # v4\n" in text, "the commit, not the tag's own object"
    assert re.search(r"uses: pypa/publish@[0-9a-f]{40} # release/v1\n", text)
    assert "echo uses a@b" in text
    assert run(project, "--check").returncode == 0
    assert run(project, **offline).returncode == 0
    assert (project / ".github/workflows/test.yml").read_text() == text, "again: the same"


def test_a_digest_that_cannot_be_resolved_changes_nothing(project: Path, offline: dict[str, str]):
    (project / ".github/workflows/test.yml").write_text(WORKFLOW.replace("@v4", "@v5"))
    completed = run(project, **offline)
    assert completed.returncode == 2
    assert "has no v5" in completed.stderr
    assert (project / "Dockerfile").read_text() == DOCKERFILE
    completed = run(project, **{**offline, "GIT_CONFIG_VALUE_0": "https://nowhere/", "GIT_ALLOW_PROTOCOL": "file"})
    assert completed.returncode == 2
    assert "nothing was changed" in completed.stderr


def test_every_action_and_image_of_this_project_is_covered():
    text = "".join(path.read_text() for path in WORKFLOWS)
    assert len(ACTION.findall(text)) == len(re.findall(r"^\s*(?:- )?uses:", text, re.MULTILINE))
    compose = (ROOT / "docker-compose.yml").read_text()
    third_party = [line for line in re.findall(r"^\s+image: (.*)$", compose, re.MULTILINE) if "epochcost" not in line]
    assert len(IMAGE.findall(compose)) == len(third_party)
    assert {path.name for path, _ in files(ROOT)} >= {"Dockerfile", "docker-compose.yml", "release.yml", "test.yml"}
    new = {
        path: pinned(path.read_text(), pattern, lambda _, tag: "a" * 40 if tag else DIGEST)
        for path, pattern in files(ROOT)
    }
    assert all(yaml.safe_load(text) for path, text in new.items() if path.suffix == ".yml")
    assert isinstance(unpinned(ROOT), list)


def test_a_release_is_audited_and_fails_on_references_with_only_a_tag():
    steps = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]["build"]["steps"]
    commands = "\n".join(step.get("run", "") for step in steps)
    assert "scripts.pin --check" in commands
    assert "pip-audit" in commands
    assert commands.index("scripts.pin --check") < commands.index("python -m build")


def test_every_release_artifact_is_signed_by_the_workflow_and_has_provenance():
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    build, image = jobs["build"], jobs["image"]
    for job in (build, image):
        assert job["permissions"]["id-token"] == "write"
        actions = [step.get("uses", "").partition("@")[0] for step in job["steps"]]
        assert {"sigstore/cosign-installer", "actions/attest-build-provenance"} <= set(actions)
    commands = [step.get("run", "") for step in build["steps"]]
    signs = next(at for at, run in enumerate(commands) if "cosign sign-blob --yes" in run)
    makes = [
        at
        for at, run in enumerate(commands)
        if re.search(r"python -m build|helm package|scripts/package|-o dist/", run)
    ]
    assert len(makes) == 4, "wheel and sdist, SBOM, chart, deb and rpm: before the list of digests is made and signed"
    assert max(makes) < signs
    (push,) = (step for step in image["steps"] if "build-push" in step.get("uses", ""))
    assert push["with"]["platforms"] == "linux/amd64,linux/arm64"
    assert push["with"]["sbom"] is True
    assert push["with"]["provenance"] == "mode=max"
    assert 'cosign sign --yes "$IMAGE@$DIGEST"' in [step.get("run") for step in image["steps"]], (
        "by digest, never by tag"
    )
    assert "key" not in "".join(commands).lower().replace("no key", "")
    verified = (ROOT / "SECURITY.md").read_text()
    for word in ("cosign verify-blob", "cosign verify ", "gh attestation verify", "release.yml@refs/tags/v"):
        assert word in verified


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_write_permission_only_where_declared(path: Path):
    document = yaml.safe_load(path.read_text())
    assert document["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in path.read_text()
    for job in document["jobs"].values():
        for step in job["steps"]:
            untrusted = re.search(r"\$\{\{\s*github\.(event|head_ref)", step.get("run", ""))
            assert not untrusted, "what a stranger names would be run"
