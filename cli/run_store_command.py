"""Runs an operator's command about the store: with the journal, and what it is compared by."""

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from cli.command_session import discard_event, log_in_operator, running_command
from cli.run_command import EXIT_FAILED, audit_actor, exit_with, run_or_exit
from cli.settings_errors import load_settings
from core.clock import SystemClock
from core.ids import SystemIds
from core.journal.objects import JournalUnavailable
from core.journal.open import open_journal
from core.store.booking import UsageRetention
from core.store.client import RedisClient, build_connection_pool
from core.store.scripts import LuaScripts, load_scripts
from core.store.stores import open_stores
from service.composition import build_admin_context
from service.settings import ServiceSettings
from worker.jobs.answer_writer import AnswerWriter
from worker.jobs.decisions.transition import DecisionContext
from worker.jobs.job_writer import JobWriter
from worker.jobs.policies import LifecyclePolicy
from worker.jobs.reconciliation import Reconciler
from worker.jobs.store_commands import StoreCommands

T = TypeVar("T")


def run_store_command(
    action: Callable[[StoreCommands], Coroutine[Any, Any, T]],
    change: Callable[[T], str | None] = lambda _: None,
) -> T:
    """Return what `action` returns. An error ends the process with one line on stderr.

    `change` returns from its result what the audit log has of it; None: it has changed nothing.
    """
    try:
        return run_or_exit(_run(load_settings(ServiceSettings), action, change))
    except JournalUnavailable as error:
        exit_with(str(error), EXIT_FAILED)


async def _run(
    settings: ServiceSettings,
    action: Callable[[StoreCommands], Coroutine[Any, Any, T]],
    change: Callable[[T], str | None],
) -> T:
    clock, ids = SystemClock(), SystemIds()
    async with RedisClient(build_connection_pool(settings.redis, "cli")) as client:
        retention = UsageRetention(settings.usage_retention)
        stores = open_stores(
            client, LuaScripts(client, load_scripts()), clock, usage_retention=retention
        )
        account = build_admin_context(settings, stores, audit_actor(), discard_event, clock)
        operator = await log_in_operator(account, settings.operator_token)
        context = DecisionContext(operator.actor, LifecyclePolicy(), Random())  # noqa: S311 - spreads delays
        writer = JobWriter(stores, clock, discard_event)
        answers = AnswerWriter(stores, writer, clock, context)
        journal = open_journal(settings.journal, clock, discard_event)
        commands = StoreCommands(stores.identity, clock, ids, stores.jobs, answers)
        async with AsyncExitStack() as opened:
            if journal is not None:
                opened.push_async_callback(journal.close)
                reconciler = Reconciler(stores, journal, answers, clock, context.policy.doubt_hold)
                commands = replace(commands, journal=journal, reconciler=reconciler)
            result = await action(commands)
        if (changed := change(result)) is not None:
            await operator.record_action(running_command().replace(" ", "."), "gateway", changed)
        return result
