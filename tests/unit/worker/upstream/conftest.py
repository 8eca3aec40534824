"""RunComfy as a function from request to response: no sockets, no waiting."""

import pytest

from tests.support.upstream_client import HarnessFactory, UpstreamClientHarness


@pytest.fixture
def harness_for() -> HarnessFactory:
    """Builds a client from RunComfy's scripted responses."""
    return UpstreamClientHarness
