"""Fixtures of the integration tests."""

from collections.abc import Iterator

import pytest

from simulator.stack import Stack
from tests.support.stack import running_stack
from tests.support.tls import CertificateAuthority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A certificate authority that no client knows of its own."""
    made = CertificateAuthority(tmp_path_factory.mktemp("ca"))
    made.create()
    return made


@pytest.fixture(scope="module")
def idle_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two services over one Redis. No worker: jobs stay as they were admitted."""
    with running_stack(tmp_path_factory.mktemp("stack"), services=2, workers=0) as stack:
        stack.run_gateway("store", "init")  # as its first worker would
        yield stack
