"""A key is revoked in one step: half of it would leave a key that is listed nowhere, or counts."""

from typing import Any

from core.store.client import Argument, RedisClient
from core.store.scripts import LuaScripts, load_scripts
from core.store.tenants import TenantStore
from tests.support.clock import FakeClock


class RecordingRedisClient(RedisClient):
    """Says yes to every command, and keeps its first word."""

    def __init__(self) -> None:
        """Nothing was asked."""
        self.sent: list[Argument] = []

    async def execute(self, *command: Argument) -> Any:  # noqa: ANN401 - as the real one
        """One more command."""
        self.sent.append(command[0])
        return 1


async def test_revoking_is_one_command() -> None:
    wire = RecordingRedisClient()
    store = TenantStore(wire, LuaScripts(wire, load_scripts()), FakeClock())
    assert await store.revoke_key("ads", "digest")
    assert wire.sent == ["EVALSHA"]
