"""The files that deploy the gateway, read as data."""

from typing import Any

import pytest
import yaml

from tests.support.deployment import ROOT, TOKEN, ComposeFile, load_compose


@pytest.fixture(scope="session")
def simulated_compose() -> ComposeFile:
    """As it is without a RunComfy token."""
    return load_compose(RUNCOMFY_API_TOKEN="")


@pytest.fixture(scope="session")
def real_compose() -> ComposeFile:
    """As it is with one."""
    return load_compose(RUNCOMFY_API_TOKEN=TOKEN)


@pytest.fixture(scope="session")
def manifests() -> list[dict[str, Any]]:
    """Every Kubernetes object that is written down."""
    return [
        document
        for path in sorted((ROOT / "deploy/k8s").rglob("*.yaml"))
        if path.name != "kustomization.yaml"
        for document in yaml.safe_load_all(path.read_text())
    ]
