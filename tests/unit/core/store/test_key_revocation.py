"""A key is revoked in one atomic step: half of it would leave a key that is valid but unlisted."""

from typing import Any

from core.store.client import Argument, RedisClient
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from tests.support.clock import FakeClock


class RecordingRedisClient(RedisClient):
    """Accepts every command and records its name."""

    def __init__(self) -> None:
        """Start without recorded commands."""
        self.sent: list[Argument] = []

    async def execute(self, *command: Argument) -> Any:  # noqa: ANN401 - as the real one
        """Record one command."""
        self.sent.append(command[0])
        return 1


async def test_revoking_is_one_command() -> None:
    wire = RecordingRedisClient()
    store = open_stores(wire, LuaScripts(wire, load_scripts()), FakeClock()).tenants
    assert await store.revoke_key("ads", "digest")
    assert wire.sent == ["EVALSHA"]
