"""A valid key is looked up once in seconds; any other each time."""

import pytest

from core.errors import NotPermitted, Unauthenticated
from core.quotas import CallRate
from core.tenants.api_keys import Credential, Scope, parse_api_key
from service.tenants import known_keys
from service.tenants.known_keys import KNOWN_FOR, KnownKeys
from tests.support.app import AppHarness


class CountingJobs:
    """Counts the look-ups of the store below."""

    def __init__(self, app: AppHarness) -> None:
        self._jobs = app.stores.jobs
        self.lookups = 0

    async def authenticate(
        self,
        credential: Credential,
        scope: Scope | None = None,
        rate: CallRate | None = CallRate.CALLS,
    ) -> None:
        self.lookups += 1
        await self._jobs.authenticate(credential, scope, rate)


@pytest.fixture
def jobs(app: AppHarness) -> CountingJobs:
    return CountingJobs(app)


@pytest.fixture
def keys(app: AppHarness, jobs: CountingJobs) -> KnownKeys:
    return KnownKeys(jobs, app.clock)  # type: ignore[arg-type]  # only this method is called


async def test_a_valid_key_is_looked_up_once_in_seconds(
    app: AppHarness, keys: KnownKeys, jobs: CountingJobs, key: str
) -> None:
    credential = parse_api_key(key)
    for _ in range(3):
        await keys.check(credential, Scope.SUBMIT)
    assert jobs.lookups == 1
    await keys.check(credential, Scope.READ)
    assert jobs.lookups == 2
    app.clock.move(KNOWN_FOR)
    await keys.check(credential, Scope.SUBMIT)
    assert jobs.lookups == 3


async def test_a_refused_key_is_looked_up_each_time(
    app: AppHarness, keys: KnownKeys, jobs: CountingJobs
) -> None:
    reader = parse_api_key(await app.tenant("readers", scopes=frozenset({Scope.READ})))
    for credential, error in (
        (Credential("video-team", "0" * 64), Unauthenticated),
        (reader, NotPermitted),
    ):
        for _ in range(2):
            with pytest.raises(error):
                await keys.check(credential, Scope.SUBMIT)
    assert (jobs.lookups, len(keys)) == (4, 0)


async def test_the_oldest_key_is_forgotten_first(
    app: AppHarness, jobs: CountingJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_keys, "MAX_KNOWN_KEYS", 2)
    keys = KnownKeys(jobs, app.clock)  # type: ignore[arg-type]  # only `authenticate` is called
    credentials = [parse_api_key(await app.tenant(name)) for name in ("a", "b", "c")]
    for credential in credentials:
        await keys.check(credential, Scope.READ)
    assert len(keys) == 2
    await keys.check(credentials[2], Scope.READ)
    assert jobs.lookups == 3
    await keys.check(credentials[0], Scope.READ)
    assert jobs.lookups == 4
