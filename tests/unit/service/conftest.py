"""A face, a tenant's key, and a caller who holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes.face import Face, open_face

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx


@pytest.fixture
def face() -> Face:
    """A face over empty stores."""
    return open_face()


@pytest.fixture
async def key(face: Face) -> str:
    """The key of the tenant `video-team`."""
    return await face.tenant()


@pytest.fixture
async def caller(face: Face, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """Who holds that key."""
    async with face.client(key) as client:
        yield client
