"""Refuses to start a process over a Redis that the gateway cannot use."""

import asyncio
import sys
from typing import Final, NoReturn

from core.errors import StoreUnavailable, StoreUnsupported
from core.runcomfy_account import account_issue
from core.settings.definitions import RedisPolicy
from core.store.client import RedisClient, build_connection_pool
from core.store.identity import StoreIdentity, bind_account
from core.store.scripts import LuaScripts, load_scripts

EXIT_UNSUPPORTED: Final = 2
"""Exit status for a store that no retry will make usable."""


def exit_if_store_unsupported(policy: RedisPolicy) -> None:
    """End the process with one line and status 2 if the store must not be used.

    Redis may be too old or a cluster, and its jobs of another account or a newer release. A Redis
    without an account becomes the one of the process's RunComfy account. An unavailable
    Redis is no reason: the process waits for it.
    """
    try:
        asyncio.run(_connect(policy))
    except StoreUnsupported as error:
        exit_for_store(error)
    except StoreUnavailable:
        return


def exit_for_store(error: StoreUnsupported) -> NoReturn:
    """Print the reason on stderr and end the process with status 2."""
    print(f"gateway: {error}", file=sys.stderr)
    raise SystemExit(EXIT_UNSUPPORTED) from None


async def _connect(policy: RedisPolicy) -> None:
    async with RedisClient(build_connection_pool(policy, "start")) as client:
        identity = StoreIdentity(client, LuaScripts(client, load_scripts()))
        issue = account_issue(await bind_account(identity, policy.account), policy.account)
        if issue is not None:
            raise StoreUnsupported(issue)
        await identity.record_schema()
