"""The application context: everything that a request handler can use."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol

from pydantic import SecretStr
from starlette.types import Scope

from core.clock import Clock
from core.ids import IdSource
from core.jobs.run_times import PollHintPolicy
from core.observability.events import SUBMIT_ROUTE, Emit
from core.observability.gateway_state import GatewayState
from core.observability.trace_context import SpanNamer, pass_through
from core.store.run_times import RunTimeCache
from core.store.stores import Stores
from core.tenants.cache_policy import CachePolicy
from service.admin.refused_calls import RefusedCalls
from service.files.file_service import FileService
from service.jobs.cancel import JobCanceller
from service.jobs.input_files import InputFiles
from service.jobs.submit_availability import SubmitAvailability
from service.jobs.submit_options import OptionPolicy
from service.models.registry_cache import ModelRegistryCache
from service.operator_context import AdminContext
from service.parsing.body_budget import BodyBudget
from service.parsing.forwarded import TrustedProxies
from service.parsing.identity_headers import IdentityPolicy
from service.parsing.json_body import BodyLimits
from service.parsing.large_bodies import LargeBodies
from service.streaming.shared_reads import SharedReads
from service.streaming.subscriptions import Subscriptions
from service.tenants.known_keys import KnownKeys
from service.tenants.refusal_delays import RefusalDelays
from service.webhooks.webhook_service import WebhookService

ADMIN_API_ACTOR: Final = "admin-api"
"""Actor in the audit log for actions by HTTP with `GATEWAY_ADMIN_TOKEN`."""


ADMIN_LISTENER: Final = "admin_listener"
"""Key in the ASGI state of calls to the admin API's own listener."""


DISTRIBUTION: Final = "runcomfy-gateway"


BATCH_ROUTE: Final = "/v1/batches"


KEYED_ROUTES: Final = frozenset({SUBMIT_ROUTE, BATCH_ROUTE})
"""The routes whose POST takes an `Idempotency-Key`."""


ReadState = Callable[[], Awaitable[GatewayState]]
PROBE_ROUTES: Final = frozenset({"/healthz", "/readyz"})


@dataclass(frozen=True, slots=True)
class LinkPolicy:
    """The base of the URLs in answers.

    `public_url` None: the address that the caller used, as trusted proxies report it.
    """

    public_url: str | None = None
    trusted_proxies: TrustedProxies = TrustedProxies()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class ConsolePolicy:
    """Whether the console is served, and who signs in by an authenticating proxy."""

    enabled: bool = False
    identity: IdentityPolicy = IdentityPolicy()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class McpPolicy:
    """Whether the MCP server is on, and for pages of which origins."""

    enabled: bool = False
    allowed_origins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """Limits and defaults of the handlers."""

    body_limits: BodyLimits
    batch_body_limits: BodyLimits
    options: OptionPolicy
    links: LinkPolicy
    worker_timeout: timedelta
    hints: PollHintPolicy
    max_wait: timedelta
    heartbeat: timedelta
    admin_token: SecretStr | None = None
    """The token of the first operator, who may do everything. None: there is none."""
    cache: CachePolicy = field(default_factory=CachePolicy)
    docs: bool = True
    guide: Path | None = None
    """The folder of the documentation's site. None: it is not served."""
    own_admin_listener: bool = False
    """Whether the admin API is served by its own listener only."""
    console: ConsolePolicy = ConsolePolicy()
    mcp: McpPolicy = McpPolicy()
    account: str = ""
    """The account whose store this service uses; see `core.runcomfy_account`."""

    @property
    def admin_api(self) -> bool:
        """Whether the admin API is on: it was given a token, or a listener of its own."""
        return self.admin_token is not None or self.own_admin_listener


class MetricsRenderer(Protocol):
    """The metrics of this process, or of all service processes of the machine."""

    content_type: str

    async def render(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        ...


@dataclass(frozen=True, slots=True)
class AppContext:
    """Everything that a request handler can use."""

    stores: Stores
    admin: AdminContext
    refused_calls: RefusedCalls
    model_cache: ModelRegistryCache
    run_times: RunTimeCache
    subscriptions: Subscriptions
    known_keys: KnownKeys
    failed_authentications: RefusalDelays
    """By address."""
    refusals: RefusalDelays
    """By tenant."""
    body_budget: BodyBudget
    large_bodies: LargeBodies
    metrics: MetricsRenderer
    webhooks: WebhookService
    files: FileService
    input_files: InputFiles
    submit_availability: SubmitAvailability
    clock: Clock
    ids: IdSource
    policy: HttpPolicy
    emit: Emit
    read_state: ReadState
    """Reads the state of the whole gateway, for operators."""
    is_stopping: Callable[[], bool]
    """Whether the process is about to stop: it is not ready, and serves what still arrives."""
    shared_reads: SharedReads
    span_of: SpanNamer = pass_through
    settings_table: tuple[Mapping[str, str], ...] = ()
    """The effective settings by name, value and source, without secrets."""

    @property
    def job_canceller(self) -> JobCanceller:
        """The use case of cancelling, over these stores."""
        return JobCanceller(self.stores.jobs, self.webhooks.configs, self.clock, self.emit)


def app_context(scope: Scope) -> AppContext:
    """Return the context that the lifespan opened."""
    context: AppContext = scope["state"]["resources"]
    return context
