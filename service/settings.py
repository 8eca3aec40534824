"""Settings of `gateway serve`, and the policies made from them."""

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    DirectoryPath,
    Field,
    SecretStr,
    model_validator,
)

from core.models.ids import MODEL_PATTERN, check_aliases
from core.private_sources import PrivateSources
from core.retention import MAX_CACHE_LIFETIME, MAX_JOB_AGE, MIN_CACHE_LIFETIME
from core.settings.definitions import ProcessSettings, Seconds
from core.tenants.cache_policy import CacheMode, CachePolicy, CacheRule
from core.webhooks.url_policy import AllowedTargets, TargetPolicy
from service.context import ConsolePolicy, LinkPolicy, McpPolicy
from service.jobs.submit_options import MAX_DELAY, Deadlines, OptionPolicy
from service.models import UnlistedPolicy
from service.parsing.body_budget import BodyBudget, BodyBudgetPolicy
from service.parsing.forwarded import TrustedProxies
from service.parsing.identity_headers import HEADER_PATTERN, Grant, IdentityPolicy
from service.parsing.json_body import BodyLimits
from service.webhooks.requests import EndpointPolicy

MEBIBYTE: Final = 2**20
MAX_BODY_BYTES: Final = 64 * MEBIBYTE
"""Largest request of RunComfy's own clients."""

_Positive = Annotated[Seconds, Field(gt=timedelta(0))]
_NonNegative = Annotated[Seconds, Field(ge=timedelta(0))]
_Lifetime = Annotated[Seconds, Field(ge=MIN_CACHE_LIFETIME, le=MAX_CACHE_LIFETIME)]
_ModelPattern = Annotated[str, Field(pattern=MODEL_PATTERN)]


class ModelTimeouts(BaseModel):
    """Default timeouts of one model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout: _Positive | None = None
    start_timeout: _Positive | None = None


class WebhookSettings(BaseModel):
    """Allowed webhook URLs."""

    model_config = ConfigDict(frozen=True)

    allowed_targets: tuple[str, ...] = Field(
        (),
        description="JSON list of host names, `*.suffix` patterns, IP addresses and CIDRs to which "
        "webhooks may be sent even if they are private, loopback or use `http`.",
    )


class ModelCache(BaseModel):
    """Cache defaults of some models; None keeps the general default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: CacheMode | None = None
    lifetime: _Lifetime | None = None


class CacheSettings(BaseModel):
    """Result cache defaults, for submits that neither the caller nor the tenant configured."""

    model_config = ConfigDict(frozen=True)

    default: CacheMode | None = Field(
        None,
        description="`use`: submits with equal input share a stored result or a running job; "
        "`off`: each one runs and is paid for. Unset: `use` for an input that sets the model's "
        "seed, `off` for any other, whose repetition requests another result.",
    )
    lifetime: _Lifetime = Field(
        MAX_CACHE_LIFETIME, description="How long a stored result is used; at most 7 days."
    )
    models: Mapping[_ModelPattern, ModelCache] = Field(
        {},
        description="JSON object of defaults by model id pattern (`*` matches any text; the first "
        'match applies): `{"flux/*": {"default": "off"}, '
        '"kling/*": {"lifetime": 3600}}`.',
    )

    def policy(self) -> CachePolicy:
        """Return the cache policy."""
        return CachePolicy(
            default=CacheRule(self.default, self.lifetime),
            by_model=tuple(
                (pattern, CacheRule(own.default or self.default, own.lifetime or self.lifetime))
                for pattern, own in self.models.items()
            ),
        )


class ModelSettings(BaseModel):
    """What is known of models, and what becomes of the others."""

    model_config = ConfigDict(frozen=True)

    unlisted: UnlistedPolicy = Field(
        UnlistedPolicy.REFUSE,
        description="A submit to a model that RunComfy's catalogue does not list: `refuse` (404 "
        "with the nearest names) or `forward` (unchecked; its price is unknown, so that the "
        "tenant's `unknown_price` decides).",
    )
    aliases: Annotated[dict[str, str], AfterValidator(check_aliases)] = Field(
        {},
        description="JSON object of model ids by alias: "
        '`{"video/fast": "kling/kling-3.0/standard/image-to-video"}`. A submit to the alias is one '
        "to that model. Tenants have aliases of their own: `model_aliases`.",
    )


class ConsoleSettings(BaseModel):
    """The web console, and who may sign in to it by an authenticating proxy."""

    model_config = ConfigDict(frozen=True)

    enabled: bool | None = Field(
        None,
        description="Serve the web console at `/console`. Unset: only while `GATEWAY_HOST` is a "
        "loopback address.",
    )
    identity_header: str | None = Field(
        None,
        pattern=rf"^{HEADER_PATTERN}$",
        description="Header in which an authenticating proxy names the person who uses the "
        "console, such as `X-Forwarded-User`. It is believed from `GATEWAY_TRUSTED_PROXIES` alone, "
        "each of which must remove it from what callers send. Unset: sign in by key or token only.",
    )
    groups_header: str = Field(
        "X-Forwarded-Groups",
        pattern=rf"^{HEADER_PATTERN}$",
        description="Header in which that proxy lists the person's groups, with commas.",
    )
    groups: Mapping[str, str] = Field(
        {},
        description="JSON object of what each group may do: the role of an operator, or act as a "
        'tenant by its newest key or by one of its keys: `{"platform": "role:all", "video": '
        '"tenant:video-team", "ads": "tenant:ads/KEY_ID"}`. Other groups may do nothing.',
    )

    def identity_policy(self) -> IdentityPolicy:
        """Return who signs in by a proxy. Raises `ValueError`."""
        grants = {name: Grant.parse(text) for name, text in self.groups.items()}
        if self.identity_header is None:
            return IdentityPolicy()
        return IdentityPolicy(self.identity_header, self.groups_header, grants)


class McpSettings(BaseModel):
    """The MCP server, by which language models use the gateway."""

    model_config = ConfigDict(frozen=True)

    enabled: bool = Field(False, description="Serve MCP at `/mcp`.")  # noqa: FBT003 - a default
    allowed_origins: tuple[str, ...] = Field(
        (),
        description="JSON list of the origins, such as `https://agent.example`, whose pages in a "
        "browser may call `/mcp`, beside that of `GATEWAY_PUBLIC_URL`. Programs send no origin.",
    )


class ServiceSettings(ProcessSettings):
    """Settings of `gateway serve`."""

    host: str = Field("127.0.0.1", description="Address to listen on; `0.0.0.0`: all interfaces.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0: any free port.")
    service_metrics_host: str = Field(
        "127.0.0.1", description="Address of the service's `/metrics`."
    )
    service_metrics_port: int = Field(
        9101, ge=0, le=65_535, description="Port of the service's `/metrics`; 0: any free port."
    )
    trusted_proxies: tuple[str, ...] = Field(
        (),
        description="JSON list of addresses and networks of proxies. From these peers alone "
        "`X-Forwarded-Proto`, `-Host`, `-Prefix` and `-For`, or `Forwarded`, are believed.",
    )
    admin_host: str = Field("127.0.0.1", description="Address of the admin API's own listener.")
    admin_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Port of a listener of its own for the admin API, which `GATEWAY_PORT` then no "
        "longer serves; 0: any free port. Unset: `GATEWAY_PORT` serves both.",
    )
    admin_token: SecretStr | None = Field(
        None,
        min_length=32,
        description="Token of the admin API that may do everything, for the first operator; unset "
        "and without `GATEWAY_ADMIN_PORT`: the admin API is off.",
    )
    operator_token: SecretStr | None = Field(
        None,
        description="For the other commands: the token of the operator who runs them, whose roles "
        "they then need. Unset: the account of the operating system acts, and may do everything.",
    )
    docs: bool = Field(
        default=True, description="Serve the API reference: `/docs` and `/openapi.json`."
    )
    guide: DirectoryPath | None = Field(
        None,
        description="The folder of the documentation's site (`make site`), to be served at "
        "`/docs/guide`. Unset: it is not served.",
    )
    max_body_bytes: int = Field(
        MAX_BODY_BYTES,
        gt=0,
        le=MAX_BODY_BYTES,
        description="Largest body of a submit, in bytes, decoded; at most 64 MiB, for `data:` "
        "URIs.",
    )
    max_body_bytes_in_flight: int = Field(
        128 * MEBIBYTE,
        gt=0,
        description="Bytes of request bodies that one process holds at a time, from the first byte "
        "to the admission; beyond it large bodies get 503. One tenant and one address have half "
        "of it. Bodies up to 64 KiB have an eighth for themselves.",
    )
    max_batch_bytes: int = Field(
        16 * MEBIBYTE,
        gt=0,
        le=MAX_BODY_BYTES,
        description="Largest body of a batch, in bytes. Each input is limited by "
        "`GATEWAY_MAX_BODY_BYTES` too.",
    )
    body_timeout: _Positive = Field(
        timedelta(seconds=30), description="Timeout of receiving a request body."
    )
    default_timeout: _Positive = Field(
        timedelta(hours=2), description="Default `timeout` of a submit: the longest life of a job."
    )
    max_timeout: _Positive = Field(
        timedelta(hours=24), description="Largest `timeout` and `start_timeout` of a submit."
    )
    default_start_timeout: _Positive | None = Field(
        None,
        description="Default `start_timeout` of a submit: the longest wait for its start. Unset: "
        "its `timeout`.",
    )
    max_delay: _NonNegative = Field(
        MAX_DELAY,
        description="How far ahead `not_before` of a submit may be. With `GATEWAY_MAX_TIMEOUT` 8 "
        "days at most: a submit of an older job is not found in the journal.",
    )
    model_timeouts: Mapping[str, ModelTimeouts] = Field(
        {},
        description="JSON object of default timeouts by model id: "
        '`{"kling/…": {"timeout": 3600, "start_timeout": 600}}`.',
    )
    catalogue_refresh_interval: _Positive = Field(
        timedelta(seconds=5), description="How often Redis is checked for a newer model catalogue."
    )
    worker_timeout: _Positive = Field(
        timedelta(seconds=30),
        description="Longest time without a worker's heartbeat before `/readyz?for=submit` fails.",
    )
    max_submit_outage: _Positive = Field(
        timedelta(minutes=5),
        description="How long submits are admitted while no worker runs or RunComfy refuses the "
        "account. After that they get 503 with `Retry-After`.",
    )
    min_retry_after: _Positive = Field(
        timedelta(seconds=2), description="Smallest `Retry-After` on a job's status."
    )
    max_retry_after: _Positive = Field(
        timedelta(seconds=30), description="Largest `Retry-After`, for models with long runs."
    )
    run_times_refresh_interval: _Positive = Field(
        timedelta(seconds=5), description="How often models' run times are read from Redis."
    )
    max_wait: _Positive = Field(
        timedelta(seconds=55),
        description="Longest wait for a result with `Prefer: wait=N`. Keep it below the read "
        "time-out of the proxies in front: 60 s in most.",
    )
    heartbeat_interval: _Positive = Field(
        timedelta(seconds=15),
        description="Interval of keep-alive comments on an idle event stream.",
    )
    max_subscriptions: int = Field(
        10_000,
        ge=0,
        description="Maximum number of callers that wait or read event streams in one process. "
        "Beyond it streams are refused and waits return immediately.",
    )
    max_subscriptions_per_tenant: int = Field(
        5_000, ge=0, description="As `GATEWAY_MAX_SUBSCRIPTIONS`, for one tenant."
    )
    refusal_delay: Seconds = Field(
        timedelta(seconds=1),
        description="How long the answer to a wrong key waits once an address has sent twenty of "
        "them, and a tenant's other refusals beyond a hundred a second; 0: no wait.",
    )
    max_connections: int = Field(
        12_000,
        gt=0,
        description="Maximum number of open connections of one process; fewer if `ulimit -n` "
        "allows fewer. Beyond it the longest idle connection is closed for a new one.",
    )
    max_connections_per_address: int | None = Field(
        None,
        gt=0,
        description="As `GATEWAY_MAX_CONNECTIONS`, for one address that is no trusted proxy. "
        "Default: half of all.",
    )
    shutdown_timeout: _Positive = Field(
        timedelta(seconds=10), description="Longest wait for open requests after SIGTERM."
    )
    shutdown_delay: Seconds = Field(
        timedelta(0),
        description="How long after SIGTERM the service goes on serving while `/readyz` answers "
        "503, so that a balancer stops sending it requests: longer than its checks take. Another "
        "SIGTERM ends it. Not needed where something else waits, such as a preStop hook.",
    )
    keep_alive_timeout: _Positive = Field(
        timedelta(seconds=75),
        description="How long an idle connection is kept open. Keep it above the idle time-out of "
        "the balancer in front: otherwise it sends requests to connections that have just closed.",
    )
    backlog: int = Field(
        2048, gt=0, description="Maximum number of connections that wait to be accepted."
    )
    models: ModelSettings = Field(
        ModelSettings(), description="Aliases, and models that are not listed."
    )
    cache: CacheSettings = Field(CacheSettings(), description="Result cache defaults.")
    console: ConsoleSettings = Field(ConsoleSettings(), description="The web console.")
    mcp: McpSettings = Field(McpSettings(), description="The MCP server.")
    webhooks: WebhookSettings = Field(
        WebhookSettings(), description="Allowed webhook URLs (shared with the worker)."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.default_timeout > self.max_timeout:
            raise ValueError("default_timeout: must not be above max_timeout")
        if self.max_timeout + self.max_delay > MAX_JOB_AGE:
            raise ValueError(f"max_delay: must be at most {MAX_JOB_AGE.days} days with max_timeout")
        if BodyBudget(self.body_budget_policy()).large.max_bytes < self.max_body_bytes:
            raise ValueError("max_body_bytes_in_flight: must be above 8/7 of max_body_bytes")
        try:
            self.target_policy()
        except ValueError as error:
            raise ValueError(f"webhooks__allowed_targets: {error}") from error
        try:
            PrivateSources.parse(self.files.fetch_from)
        except ValueError as error:
            raise ValueError(f"files__fetch_from: {error}") from error
        try:
            self.link_policy()
        except ValueError as error:
            raise ValueError(f"trusted_proxies: {error}") from error
        self._check_identity()
        return self

    def _check_identity(self) -> None:
        try:
            policy = self.console.identity_policy()
        except ValueError as error:
            raise ValueError(f"console__groups: {error}") from error
        if policy.header and not self.trusted_proxies:
            raise ValueError("console__identity_header: needs trusted_proxies")
        if policy.header and not policy.grants:
            raise ValueError("console__identity_header: needs console__groups")

    def link_policy(self) -> LinkPolicy:
        """Return the base of the URLs in answers."""
        return LinkPolicy(
            public_url=self.public_url.rstrip("/") if self.public_url else None,
            trusted_proxies=TrustedProxies.parse(self.trusted_proxies),
        )

    def console_policy(self) -> ConsolePolicy:
        """Return whether the console is served, and who signs in by a proxy."""
        enabled = self.console.enabled
        return ConsolePolicy(
            is_loopback(self.host) if enabled is None else enabled, self.console.identity_policy()
        )

    def mcp_policy(self) -> McpPolicy:
        """Return whether the MCP server is on, and for pages of which origins."""
        return McpPolicy(self.mcp.enabled, frozenset(self.mcp.allowed_origins))

    def console_address(self, *, for_operators: bool) -> str:
        """Return the address whose `/console` operators or tenants use."""
        if for_operators and self.admin_port is not None:
            return f"http://{_url_host(self.admin_host)}:{self.admin_port}"
        public = self.link_policy().public_url
        return public or f"http://{_url_host(self.host)}:{self.port}"

    def target_policy(self) -> TargetPolicy:
        """Return the rules for webhook URLs."""
        return TargetPolicy(AllowedTargets.parse(self.webhooks.allowed_targets))

    def endpoint_policy(self) -> EndpointPolicy:
        """Return the rules for tenants' endpoints."""
        return EndpointPolicy(self.target_policy(), frozenset(self.sinks))

    def option_policy(self) -> OptionPolicy:
        """Return the rules and defaults of submit options."""
        default = Deadlines(self.default_timeout, self.default_start_timeout)
        return OptionPolicy(
            deadlines=default,
            max_deadlines=Deadlines(self.max_timeout),
            max_delay=self.max_delay,
            target_policy=self.target_policy(),
            archive=self.archive.rules,
            by_model={
                model_id: Deadlines(
                    own.timeout or default.timeout, own.start_timeout or default.start_timeout
                )
                for model_id, own in self.model_timeouts.items()
            },
        )

    def body_limits(self) -> BodyLimits:
        """Return the limits of a submit's body."""
        return BodyLimits(self.max_body_bytes, self.body_timeout)

    def body_budget_policy(self) -> BodyBudgetPolicy:
        """Return the limits of all bodies in flight."""
        largest = max(self.max_body_bytes, self.max_batch_bytes)
        return BodyBudgetPolicy(self.max_body_bytes_in_flight, largest)

    def batch_limits(self) -> BodyLimits:
        """Return the limits of a batch's body."""
        return BodyLimits(self.max_batch_bytes, self.body_timeout)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens on `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
