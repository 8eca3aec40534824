"""Runs `gateway serve` and `gateway work`; what stops one from starting is one line on stderr."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from cli.env_file import use_env_file
from cli.run_command import EXIT_UNSUPPORTED, exit_with
from cli.settings_errors import load_settings
from core.errors import StoreUnavailable, StoreUnsupported
from core.http_server.listener import CannotListen
from core.runcomfy_account import account_issue
from core.settings.definitions import ProcessSettings, RedisPolicy
from core.store.client import RedisClient, build_connection_pool
from core.store.identity import StoreIdentity, bind_account
from core.store.scripts import LuaScripts, load_scripts

EXIT_CANNOT_LISTEN: Final = 3
"""Exit status of a process whose address is in use, or not its own."""
S = TypeVar("S", bound=ProcessSettings)


def run_process(kind: type[S], run: Callable[[S], None], env_file: Path | None) -> None:
    """Load the settings of a process and run it. Ends with 2 or 3 if it cannot start."""
    use_env_file(env_file)
    settings = load_settings(kind)
    _exit_if_store_unsupported(settings.own_redis)
    with exit_if_unable_to_listen():
        run(settings)


def _exit_if_store_unsupported(policy: RedisPolicy) -> None:
    """End the process with one line and status 2 if the store must not be used.

    Redis may be too old or a cluster, and its jobs of another account or a newer release. A Redis
    without an account becomes the one of the process's RunComfy account. An unavailable
    Redis is no reason: the process waits for it.
    """
    try:
        asyncio.run(_connect(policy))
    except StoreUnsupported as error:
        exit_with(str(error), EXIT_UNSUPPORTED)
    except StoreUnavailable:
        return


async def _connect(policy: RedisPolicy) -> None:
    async with RedisClient(build_connection_pool(policy, "start")) as client:
        identity = StoreIdentity(client, LuaScripts(client, load_scripts()))
        issue = account_issue(await bind_account(identity, policy.account), policy.account)
        if issue is not None:
            raise StoreUnsupported(issue)
        await identity.record_schema()


@contextmanager
def exit_if_unable_to_listen() -> Iterator[None]:
    """End the process with one line on stderr if the body raises `CannotListen`."""
    try:
        yield
    except CannotListen as error:
        exit_with(str(error), EXIT_CANNOT_LISTEN)
