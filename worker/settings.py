"""Settings of `gateway work`."""

from datetime import timedelta
from typing import Final, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, model_validator

from core.settings import ENV_PREFIX, ProcessSettings, Seconds
from core.tenants.tenant import DoubtPolicy
from core.webhooks.url_policy import AllowedTargets

RUNCOMFY_URL: Final = "https://model-api.runcomfy.net"
RUNCOMFY_ACCOUNT_URL: Final = "https://api.runcomfy.net"


class WebhookDeliverySettings(BaseModel):
    """Webhook delivery."""

    model_config = ConfigDict(frozen=True)

    allowed_targets: tuple[str, ...] = Field(
        (),
        description=(
            "JSON list of host patterns, IP addresses and CIDRs to which webhooks may be sent "
            "even if they are private, loopback or use `http`."
        ),
    )
    max_concurrency: int = Field(
        100, ge=1, le=1000, description="Maximum number of concurrent webhook attempts per worker."
    )
    max_stream_length: int = Field(
        10_000,
        ge=1,
        description="Approximate maximum length of a tenant's Redis stream, in events.",
    )
    replay_per_second: int = Field(
        20,
        ge=1,
        le=1000,
        description="Deliveries per second that a replay sends again, per tenant.",
    )


class DoubtSettings(BaseModel):
    """Handling of in-doubt submits: RunComfy's answer was lost."""

    model_config = ConfigDict(frozen=True)

    policy: DoubtPolicy = Field(
        DoubtPolicy.HOLD,
        description="What to do with an in-doubt submit: `hold` it for an operator, `fail` it, or "
        "`resend` it once (may be charged twice).",
    )
    hold: Seconds = Field(
        timedelta(minutes=15),
        description="How long `hold` waits for an operator before the job fails.",
    )


class PollSettings(BaseModel):
    """Polling of job status at RunComfy."""

    model_config = ConfigDict(frozen=True)

    initial_delay: Seconds = Field(
        timedelta(seconds=2),
        description="Delay before the first poll, while few run times of the model are known.",
    )
    min_interval: Seconds = Field(
        timedelta(seconds=1), description="Shortest interval between two polls of a job."
    )
    max_interval: Seconds = Field(
        timedelta(seconds=15), description="Longest interval between two polls of a job."
    )
    max_concurrency: int = Field(
        100, ge=1, le=1000, description="Maximum number of jobs processed concurrently per worker."
    )


class WorkerSettings(ProcessSettings):
    """Settings of one worker."""

    runcomfy_url: str = Field(
        RUNCOMFY_URL, description="URL of RunComfy's Model API, without `/v1`."
    )
    runcomfy_token: SecretStr = Field(
        description="RunComfy's API token; `RUNCOMFY_API_TOKEN` is accepted too.",
        validation_alias=AliasChoices(f"{ENV_PREFIX}RUNCOMFY_TOKEN", "RUNCOMFY_API_TOKEN"),
    )
    runcomfy_account_url: str | None = Field(
        None,
        description=(
            "URL of RunComfy's account API, for the balance. Default: "
            f"`{RUNCOMFY_ACCOUNT_URL}` if the Model API is RunComfy's own, else no balance is read."
        ),
    )
    worker_metrics_port: int = Field(
        9100, ge=0, le=65535, description="Port of the worker's `/metrics`; 0: any free port."
    )
    worker_metrics_host: str = Field("127.0.0.1", description="Address of the worker's `/metrics`.")
    submit_max_concurrency: int = Field(
        10, ge=1, le=50, description="Maximum number of concurrent submits to RunComfy per worker."
    )
    catalogue_sync_interval: Seconds = Field(
        timedelta(minutes=10), description="How often the model catalogue is read from RunComfy."
    )
    drain_timeout: Seconds = Field(
        timedelta(seconds=10), description="Longest wait for running tasks after SIGTERM."
    )
    webhooks: WebhookDeliverySettings = Field(WebhookDeliverySettings(), description="")
    doubt: DoubtSettings = Field(DoubtSettings(), description="")
    poll: PollSettings = Field(PollSettings(), description="")

    @property
    def account_url(self) -> str | None:
        """Return where to read the balance; None: nowhere.

        The token must not be sent to a host that the operator did not configure: RunComfy's account
        API is the default only beside RunComfy's own Model API.
        """
        if self.runcomfy_account_url is not None:
            return self.runcomfy_account_url
        return RUNCOMFY_ACCOUNT_URL if self.runcomfy_url.rstrip("/") == RUNCOMFY_URL else None

    @model_validator(mode="after")
    def _has_a_journal(self) -> Self:
        if self.journal.url is None:
            raise ValueError(
                "journal__url: is not set: file:///path or s3://bucket/prefix, shared by all "
                "workers, or off"
            )
        return self

    @model_validator(mode="after")
    def _is_readable(self) -> Self:
        account = self.runcomfy_account_url
        if account is not None and not account.startswith(("http://", "https://")):
            raise ValueError("runcomfy_account_url: must start with http:// or https://")
        AllowedTargets.parse(self.webhooks.allowed_targets)
        return self
