"""Sessions of the console in the store."""

from datetime import timedelta

from tests.support.backends import StoreBackend

HOUR = timedelta(hours=1)


async def test_a_session_is_kept_as_given_and_found_by_its_digest(backend: StoreBackend) -> None:
    await backend.console_sessions.add("digest-a", b'{"kind":"tenant"}', HOUR)
    assert await backend.console_sessions.load("digest-a") == b'{"kind":"tenant"}'
    assert await backend.console_sessions.load("digest-b") is None


async def test_what_is_taken_is_gone(backend: StoreBackend) -> None:
    await backend.console_sessions.add("digest-a", b"{}", HOUR)
    assert await backend.console_sessions.take("digest-a") == b"{}"
    assert await backend.console_sessions.take("digest-a") is None
    assert await backend.console_sessions.load("digest-a") is None
