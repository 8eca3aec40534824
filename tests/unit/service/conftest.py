"""An API over in-memory stores, a tenant's key, and a client with that key."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.app import AppHarness, open_app


@pytest.fixture
def app() -> AppHarness:
    """The app over empty stores."""
    return open_app()


@pytest.fixture
async def key(app: AppHarness) -> str:
    """The key of the tenant `video-team`."""
    return await app.tenant()


@pytest.fixture
async def caller(app: AppHarness, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with that key."""
    async with app.client(key) as client:
        yield client
