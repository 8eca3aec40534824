"""The files that deploy the gateway, read as data."""

from typing import Any

import pytest
import yaml

from tests.support.deployment import ROOT, TOKEN, ComposeFile, load_compose


@pytest.fixture(scope="session")
def simulated_compose() -> ComposeFile:
    """The compose file without a RunComfy token."""
    return load_compose(RUNCOMFY_API_TOKEN="")


@pytest.fixture(scope="session")
def real_compose() -> ComposeFile:
    """The compose file with a RunComfy token."""
    return load_compose(RUNCOMFY_API_TOKEN=TOKEN)


@pytest.fixture(scope="session")
def manifests() -> list[dict[str, Any]]:
    """All Kubernetes objects of deploy/k8s."""
    return [
        document
        for path in sorted((ROOT / "deploy/k8s").rglob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text())
    ]
