"""What a worker reads from its environment. Nothing else reads it."""

from datetime import timedelta
from typing import Final, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, model_validator

from core.settings import ENV_PREFIX, ProcessSettings, Seconds
from core.tenants.tenant import DoubtPolicy
from core.webhooks.url_policy import AllowedTargets

RUNCOMFY_URL: Final = "https://model-api.runcomfy.net"
RUNCOMFY_ACCOUNT_URL: Final = "https://api.runcomfy.net"


class WebhookDeliverySettings(BaseModel):
    """Callbacks."""

    model_config = ConfigDict(frozen=True)

    allowed_targets: tuple[str, ...] = Field(
        (),
        description=(
            "JSON list of host patterns and CIDRs that callbacks may reach although they are "
            "private or loopback; `http` is allowed to these alone."
        ),
    )
    max_concurrency: int = Field(
        100, ge=1, le=1000, description="Callbacks under way at once, a worker."
    )
    max_stream_length: int = Field(
        10_000, ge=1, description="About how many events a Redis stream of a tenant holds."
    )
    replay_per_second: int = Field(
        20, ge=1, le=1000, description="Events of one tenant that a replay sends anew in a second."
    )


class DoubtSettings(BaseModel):
    """Submits whose answer was lost."""

    model_config = ConfigDict(frozen=True)

    policy: DoubtPolicy = Field(
        DoubtPolicy.HOLD,
        description="`hold` for a person, `fail` at once, or `resend` once (may be charged twice).",
    )
    hold: Seconds = Field(
        timedelta(minutes=15), description="How long `hold` waits for a person before it fails."
    )


class PollSettings(BaseModel):
    """Asking RunComfy how far a job is."""

    model_config = ConfigDict(frozen=True)

    initial_delay: Seconds = Field(
        timedelta(seconds=2),
        description="Before the first poll of a job, while little is known of its model's runs.",
    )
    min_interval: Seconds = Field(
        timedelta(seconds=1), description="Shortest wait between two polls."
    )
    max_interval: Seconds = Field(
        timedelta(seconds=15), description="Longest wait between two polls."
    )
    max_concurrency: int = Field(
        100, ge=1, le=1000, description="Jobs worked on at once, a worker."
    )


class WorkerSettings(ProcessSettings):
    """A worker's settings."""

    runcomfy_url: str = Field(RUNCOMFY_URL, description="RunComfy's Model API, without `/v1`.")
    runcomfy_token: SecretStr = Field(
        description="RunComfy's API token; `RUNCOMFY_API_TOKEN` is accepted too.",
        validation_alias=AliasChoices(f"{ENV_PREFIX}RUNCOMFY_TOKEN", "RUNCOMFY_API_TOKEN"),
    )
    runcomfy_account_url: str | None = Field(
        None,
        description=(
            "RunComfy's account API, for the balance; default: RunComfy's own "
            f"(`{RUNCOMFY_ACCOUNT_URL}`) where the Model API is RunComfy's own, else none is asked."
        ),
    )
    worker_metrics_port: int = Field(
        9100, ge=0, le=65535, description="Port of the worker's `/metrics`; 0: any free one."
    )
    worker_metrics_host: str = Field("127.0.0.1", description="Address of the worker's `/metrics`.")
    submit_max_concurrency: int = Field(
        10, ge=1, le=50, description="Paid calls at once, a worker."
    )
    catalogue_sync_interval: Seconds = Field(
        timedelta(minutes=10), description="How often RunComfy's catalogue is read."
    )
    drain_timeout: Seconds = Field(
        timedelta(seconds=10), description="How long a stopping worker finishes what it began."
    )
    webhooks: WebhookDeliverySettings = Field(WebhookDeliverySettings(), description="")
    doubt: DoubtSettings = Field(DoubtSettings(), description="")
    poll: PollSettings = Field(PollSettings(), description="")

    @property
    def account_url(self) -> str | None:
        """Where the balance is read. The token goes to no host that the operator did not name."""
        if self.runcomfy_account_url is not None:
            return self.runcomfy_account_url
        return RUNCOMFY_ACCOUNT_URL if self.runcomfy_url.rstrip("/") == RUNCOMFY_URL else None

    @model_validator(mode="after")
    def _is_readable(self) -> Self:
        account = self.runcomfy_account_url
        if account is not None and not account.startswith(("http://", "https://")):
            raise ValueError("runcomfy_account_url: must start with http:// or https://")
        AllowedTargets.parse(self.webhooks.allowed_targets)
        return self
