"""RunComfy as a function from request to response: no sockets, no waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    pass
from tests.support.upstream_client import HarnessFactory, UpstreamClientHarness


@pytest.fixture
def harness_for() -> HarnessFactory:
    """Builds a desk from what RunComfy shall answer."""
    return UpstreamClientHarness
