"""Runs the checks of `gateway doctor`: reads what they need, here, over the network."""

from typing import Final, TypeVar
from urllib.parse import urlsplit

from pydantic_settings import BaseSettings

from cli.command_session import discard_event
from cli.doctor.check import Check, fail, ok, warn
from cli.doctor.outside_checks import (
    check_balance,
    check_creation,
    check_egress,
    check_runcomfy,
    check_webhook_proxy,
)
from cli.doctor.redis_checks import (
    check_account,
    check_durability,
    check_position,
    check_server,
    check_workers,
)
from cli.doctor.settings_checks import check_absent_journal, check_settings
from cli.settings_errors import settings_issue, unknown_settings
from core.clock import Clock
from core.errors import GatewayError, StoreUnavailable
from core.ids import IdSource
from core.journal.objects import JournalUnavailable
from core.journal.open import open_journal
from core.settings.definitions import JournalSettings
from core.store.client import RedisClient, build_connection_pool
from core.store.identity import StorePosition
from core.store.scripts import LuaScripts, load_scripts
from core.store.server_facts import read_server_facts
from core.store.stores import Stores, open_stores
from core.webhooks.endpoint import EndpointKind
from service.settings import ServiceSettings
from worker.composition import find_unreachable_receivers, open_runcomfy_readers
from worker.settings import WorkerSettings

MAX_RECEIVERS: Final = 50
S = TypeVar("S", bound=BaseSettings)


async def run_checks(clock: Clock, ids: IdSource) -> list[Check]:
    """Return every check. Nothing is changed, and nothing is submitted."""
    unknown = unknown_settings()
    checks = [] if unknown is None else [fail("settings", unknown, "correct or remove the names")]
    service, service_check = _load("gateway serve", ServiceSettings)
    worker, worker_check = _load("gateway work", WorkerSettings)
    checks += [service_check, worker_check]
    if service is None:
        return checks
    checks += check_settings(service)
    async with RedisClient(build_connection_pool(service.redis, "cli")) as client:
        stores = open_stores(client, LuaScripts(client, load_scripts()), clock)
        redis_checks, position, is_up = await _check_redis(service, client, stores, clock)
        if position is not None:
            redis_checks.append(check_account(position.account, (worker or service).account))
        checks += redis_checks
        checks += await _check_journal(service.journal, position, clock, ids, is_up=is_up)
        if worker is not None:
            checks += await _check_outside_safely(worker, stores if is_up else None, clock)
    return checks


def _load(process: str, kind: type[S]) -> tuple[S | None, Check]:
    issue = settings_issue(kind)
    if issue is None:
        return kind(), ok(process, "the settings are valid")
    if issue.endswith("is not set"):
        return None, warn(process, issue, f"set it where `{process}` runs")
    return None, fail(process, issue, "correct it")


async def _check_redis(
    settings: ServiceSettings, client: RedisClient, stores: Stores, clock: Clock
) -> tuple[list[Check], StorePosition | None, bool]:
    """Return the checks, the store's position, and whether Redis answered."""
    try:
        checks = [*check_server(await read_server_facts(client, clock), settings.redis)]
        checks += check_durability(await stores.heartbeats.load_durability())
        last_seen = await stores.heartbeats.last_seen()
        checks.append(check_workers(last_seen, clock.now(), settings.worker_timeout))
        return checks, await stores.identity.load(), True
    except StoreUnavailable as error:
        fix = "check GATEWAY_REDIS_URL, and whether Redis runs"
        return [fail("redis", error.operator_detail, fix)], None, False


async def _check_journal(
    settings: JournalSettings,
    position: StorePosition | None,
    clock: Clock,
    ids: IdSource,
    *,
    is_up: bool,
) -> list[Check]:
    fix = "check GATEWAY_JOURNAL__URL, its permissions and its free space"
    try:
        journal = open_journal(settings, clock, discard_event)
    except ValueError as error:
        return [fail("journal", str(error), fix)]
    if journal is None:
        return [
            check_absent_journal(settings.url),
            *([check_position(position, None)] if is_up else []),
        ]
    try:
        creates_once = await journal.creates_once(ids.secret().hex())
        known, journal_id = await journal.load_position(), await journal.load_id()
        # Without Redis nothing is known of its position.
        checks = [check_position(position, known, journal_id)] if is_up else []
    except JournalUnavailable as error:
        return [fail("journal", str(error), fix)]
    finally:
        await journal.close()
    return [check_creation(settings.url or "", creates_once=creates_once), *checks]


async def _check_outside_safely(
    settings: WorkerSettings, stores: Stores | None, clock: Clock
) -> list[Check]:
    """As `_check_outside`; a record that cannot be read costs these checks alone."""
    try:
        return await _check_outside(settings, stores, clock)
    except GatewayError as error:
        return [fail("outside", str(error), "see the checks of Redis, and docs/upgrading.md")]


async def _check_outside(
    settings: WorkerSettings, stores: Stores | None, clock: Clock
) -> list[Check]:
    async with open_runcomfy_readers(settings, clock, discard_event) as (catalogue, balance):
        checks = [check_runcomfy(await catalogue.list_categories())]
        left = None if balance is None else await balance.get_balance()
    minimum = None if stores is None else (await stores.admin.load_balance()).minimum
    checks.append(check_balance(left, minimum))
    urls = [] if stores is None else await _list_receivers(stores)
    unreachable = await find_unreachable_receivers(settings, urls)
    if settings.webhooks.proxy is None:
        return [*checks, check_egress(unreachable, len(urls))]
    return [*checks, check_webhook_proxy(unreachable)]


async def _list_receivers(stores: Stores) -> list[str]:
    """Return the URLs of tenants' endpoints, one for each host, as many as are checked."""
    by_host: dict[str, str] = {}
    for tenant in sorted(await stores.webhook_configs.list_tenants()):
        config = (await stores.webhook_configs.load_versioned(tenant)).config
        for endpoint in config.endpoints:
            if endpoint.kind is EndpointKind.HTTP and endpoint.disabled_at is None:
                by_host.setdefault(urlsplit(endpoint.url).netloc, endpoint.url)
        if len(by_host) >= MAX_RECEIVERS:
            break
    return list(by_host.values())[:MAX_RECEIVERS]
