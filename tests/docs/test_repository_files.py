"""The files for the repository's host are valid, and its workflows run what a developer runs."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.deployment import ROOT, run_tool

WORKFLOWS: Final = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED: Final = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40}")

by_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def steps_of(path: Path) -> list[dict[str, Any]]:
    """The steps of all jobs."""
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


@by_workflow
def test_a_workflow_is_valid_and_decided_by_the_same_script(path: Path) -> None:
    run_tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", str(path))
    assert ".ci/run" in [step.get("run") for step in steps_of(path)]


@by_workflow
def test_an_action_is_pinned_by_its_digest(path: Path) -> None:
    used = [step["uses"] for step in steps_of(path) if "uses" in step]
    assert [name for name in used if not PINNED.fullmatch(name)] == []


@by_workflow
def test_a_workflow_may_only_read_unless_a_job_needs_more(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert document["permissions"] == {"contents": "read"}


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/bug.yml"),
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/idea.yml"),
        ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("vendor.renovate", "renovate.json"),
    ],
)
def test_the_other_files_are_valid(schema: str, name: str) -> None:
    run_tool("check-jsonschema", "--builtin-schema", schema, name)
