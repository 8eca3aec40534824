"""Redis compiles every script, with room for what the next change adds."""

from typing import Final

import pytest
import redis

from core.store.scripts import LuaScript, load_scripts

SCRIPTS: Final = load_scripts()
MORE_LOCALS: Final = 8
"""Lua allows 200 in a script, and Redis refuses one with more: two changes that are each within the
bound may together stop every admission."""


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_has_locals_to_spare(redis_url: str, script: LuaScript) -> None:
    shebang, _, body = script.text.partition("\n")
    more = "\n".join(f"local more_{number}" for number in range(MORE_LOCALS))
    with redis.Redis.from_url(redis_url) as client:
        assert client.script_load(f"{shebang}\n{more}\n{body}")
