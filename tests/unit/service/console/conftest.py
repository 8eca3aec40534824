"""A console that is on, and browsers in it."""

import pytest

from tests.support.app import AppHarness
from tests.support.console import Browser, enable_console, signed_in_operator, signed_in_tenant


@pytest.fixture
def app(app: AppHarness) -> AppHarness:
    """The app with its console."""
    enable_console(app)
    return app


@pytest.fixture
async def tenant(app: AppHarness, key: str) -> Browser:
    """The browser of the tenant `video-team`."""
    return await signed_in_tenant(app, key)


@pytest.fixture
async def operator(app: AppHarness) -> Browser:
    """The browser of an operator who may do everything."""
    return await signed_in_operator(app)
