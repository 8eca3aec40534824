"""Fixtures of the integration tests."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.tls import CertificateAuthority

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    made = CertificateAuthority(tmp_path_factory.mktemp("ca"))
    made.create()
    return made
