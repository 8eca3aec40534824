"""What the HTTP face reads from its environment. Knows policies; policies do not know it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from core.retention import MAX_CACHE_LIFETIME, MIN_CACHE_LIFETIME
from core.settings import ProcessSettings, Seconds
from core.tenants.cache_policy import CacheMode, CachePolicy, CacheRule
from core.webhooks.url_policy import AllowedTargets, TargetPolicy
from service.jobs.submit_options import Deadlines, OptionPolicy
from service.parsing.json_body import BodyLimits
from service.webhooks.requests import EndpointPolicy

MEBIBYTE: Final = 2**20
MAX_BODY_BYTES: Final = 64 * MEBIBYTE
"""RunComfy's clients send at most this much in one request."""

_Positive = Annotated[Seconds, Field(gt=timedelta(0))]
_Lifetime = Annotated[Seconds, Field(ge=MIN_CACHE_LIFETIME, le=MAX_CACHE_LIFETIME)]
_ModelPattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9._/*-]{1,200}$")]


class ModelTimeouts(BaseModel):
    """One model's own deadlines."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout: _Positive | None = None
    start_timeout: _Positive | None = None


class WebhookSettings(BaseModel):
    """Where callbacks may go."""

    model_config = ConfigDict(frozen=True)

    allowed_targets: tuple[str, ...] = Field(
        (),
        description="JSON list of host names, `*.suffix` patterns, addresses and CIDRs that "
        "callbacks may reach although they are private or loopback; `http` is allowed to these.",
    )


class ModelCache(BaseModel):
    """What is usual for some models."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: CacheMode | None = None
    lifetime: _Lifetime | None = None


class CacheSettings(BaseModel):
    """Which results are reused where neither the submit nor its tenant says."""

    model_config = ConfigDict(frozen=True)

    default: CacheMode = Field(
        CacheMode.USE,
        description="`use`: submits of equal input share a result, or the job that is under way; "
        "`off`: each is paid for.",
    )
    lifetime: _Lifetime = Field(
        MAX_CACHE_LIFETIME, description="How long a result is reused; 7 days at most."
    )
    models: Mapping[_ModelPattern, ModelCache] = Field(
        {},
        description="JSON object of other defaults by model id, in which `*` stands for any text "
        'and the first that fits counts: `{"flux/*": {"default": "off"}, '
        '"kling/*": {"lifetime": 3600}}`.',
    )

    def policy(self) -> CachePolicy:
        """The same as a policy."""
        return CachePolicy(
            default=CacheRule(self.default, self.lifetime),
            by_model=tuple(
                (pattern, CacheRule(own.default or self.default, own.lifetime or self.lifetime))
                for pattern, own in self.models.items()
            ),
        )


class ServiceSettings(ProcessSettings):
    """Settings of `gateway serve`."""

    host: str = Field("127.0.0.1", description="Address to listen on; `0.0.0.0` for all.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")
    admin_token: SecretStr | None = Field(
        None, min_length=32, description="Token of the operators' API; without it that API is off."
    )
    max_body_bytes: int = Field(
        MEBIBYTE,
        gt=0,
        le=MAX_BODY_BYTES,
        description="Largest body of a submit, in bytes; 64 MiB at most, for `data:` URIs.",
    )
    max_batch_bytes: int = Field(
        16 * MEBIBYTE,
        gt=0,
        le=MAX_BODY_BYTES,
        description="Largest body of a batch, in bytes; `max_body_bytes` holds for each input too.",
    )
    body_timeout: _Positive = Field(
        timedelta(seconds=30), description="Longest time that a body may take to arrive."
    )
    default_timeout: _Positive = Field(
        timedelta(hours=2), description="Longest life of a job whose submit names no `timeout`."
    )
    max_timeout: _Positive = Field(
        timedelta(hours=24), description="Largest `timeout` and `start_timeout` of a submit."
    )
    default_start_timeout: _Positive | None = Field(
        None, description="Longest wait for the start without `start_timeout`; default: `timeout`."
    )
    model_timeouts: Mapping[str, ModelTimeouts] = Field(
        {},
        description="JSON object of other defaults by model: "
        '`{"kling/…": {"timeout": 3600, "start_timeout": 600}}`.',
    )
    catalogue_max_age: _Positive = Field(
        timedelta(hours=3),
        description="How long RunComfy's catalogue may say that a model does not exist.",
    )
    catalogue_refresh_interval: _Positive = Field(
        timedelta(seconds=5), description="How often to look for a newer catalogue in Redis."
    )
    worker_timeout: _Positive = Field(
        timedelta(seconds=30), description="After this long without a worker, `/readyz` says no."
    )
    min_retry_after: _Positive = Field(
        timedelta(seconds=2), description="Shortest `Retry-After` on the status of a job."
    )
    max_retry_after: _Positive = Field(
        timedelta(seconds=30), description="Longest `Retry-After`, for a model whose runs are long."
    )
    run_times_refresh_interval: _Positive = Field(
        timedelta(seconds=5), description="How often to look for new run times of models in Redis."
    )
    max_wait: _Positive = Field(
        timedelta(seconds=60), description="Longest wait that `Prefer: wait=N` is granted."
    )
    heartbeat_interval: _Positive = Field(
        timedelta(seconds=15), description="How often a silent event stream shows that it lives."
    )
    max_subscriptions: int = Field(
        10_000,
        ge=0,
        description="Callers that may wait or follow events in one process; beyond that, streams "
        "are refused and waits are answered at once.",
    )
    shutdown_timeout: _Positive = Field(
        timedelta(seconds=10), description="Longest wait for open calls after SIGTERM."
    )
    keep_alive_timeout: _Positive = Field(
        timedelta(seconds=30), description="How long an idle connection stays open."
    )
    backlog: int = Field(2048, gt=0, description="Connections that may wait to be accepted.")
    cache: CacheSettings = Field(
        CacheSettings(), description="Which results are reused where nobody says otherwise."
    )
    webhooks: WebhookSettings = Field(
        WebhookSettings(), description="Where callbacks may go (shared with the worker)."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.default_timeout > self.max_timeout:
            raise ValueError("default_timeout: must not be above max_timeout")
        try:
            self.target_policy()
        except ValueError as error:
            raise ValueError(f"webhooks__allowed_targets: {error}") from error
        return self

    def target_policy(self) -> TargetPolicy:
        """Which callback URLs are accepted."""
        return TargetPolicy(AllowedTargets.parse(self.webhooks.allowed_targets))

    def endpoint_policy(self) -> EndpointPolicy:
        """Where tenants' endpoints may be."""
        return EndpointPolicy(self.target_policy(), frozenset(self.sinks))

    def option_policy(self) -> OptionPolicy:
        """What submits may ask for."""
        default = Deadlines(self.default_timeout, self.default_start_timeout)
        return OptionPolicy(
            deadlines=default,
            max_deadlines=Deadlines(self.max_timeout),
            target_policy=self.target_policy(),
            by_model={
                model_id: Deadlines(
                    own.timeout or default.timeout, own.start_timeout or default.start_timeout
                )
                for model_id, own in self.model_timeouts.items()
            },
        )

    def body_limits(self) -> BodyLimits:
        """How much of a body is read."""
        return BodyLimits(self.max_body_bytes, self.body_timeout)

    def batch_limits(self) -> BodyLimits:
        """The same of a batch."""
        return BodyLimits(self.max_batch_bytes, self.body_timeout)
