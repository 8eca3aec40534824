"""The unit tier touches no network: opening a socket fails the test."""

from __future__ import annotations

import pytest_socket


def pytest_runtest_setup() -> None:
    """Block sockets before each unit test; pytest-socket lifts the block after it."""
    # asyncio wakes its loop through a socket pair, which is a unix socket.
    pytest_socket.disable_socket(allow_unix_socket=True)
