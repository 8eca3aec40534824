"""Settings of `gateway work`."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from core.billing.thresholds import DEFAULT_THRESHOLDS
from core.private_sources import PrivateSources
from core.runcomfy_account import real_account
from core.settings.definitions import ENV_PREFIX, ProcessSettings, Seconds
from core.tenants.tenant import DoubtPolicy
from core.webhooks.url_policy import AllowedTargets
from worker.ports import SUBMIT_DEADLINE
from worker.proxy import Proxy
from worker.tls import ClientCertificate, create_tls_context

RUNCOMFY_URL: Final = "https://model-api.runcomfy.net"
RUNCOMFY_ACCOUNT_URL: Final = "https://api.runcomfy.net"


def _proxy_url(url: SecretStr) -> SecretStr:
    Proxy.parse(url)
    return url


def _ca_file(path: Path) -> Path:
    create_tls_context(path)
    return path


def _certificate(certificate: ClientCertificate) -> ClientCertificate:
    create_tls_context(certificate=certificate)
    return certificate


ProxyUrl = Annotated[SecretStr, AfterValidator(_proxy_url)]
CaFile = Annotated[Path, AfterValidator(_ca_file)]


class RunComfySettings(BaseModel):
    """The way to RunComfy."""

    model_config = ConfigDict(frozen=True)

    proxy: ProxyUrl | None = Field(
        None,
        description="HTTP proxy (CONNECT) for all calls to RunComfy: "
        "`http://[user:password@]host:port`.",
    )
    ca_file: CaFile | None = Field(
        None,
        description="PEM file of CAs to trust at RunComfy beside the system's, such as that of a "
        "proxy which opens TLS.",
    )


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
    proxy: ProxyUrl | None = Field(
        None,
        description="HTTP proxy (CONNECT) for webhooks: `http://[user:password@]host:port`. "
        "Allowed targets are called directly.",
    )
    proxy_resolves: bool = Field(
        default=False,
        description="Whether the proxy resolves host names. `false`: names are resolved and "
        "checked here, and the proxy gets the address. `true`: it gets the name, and must itself "
        "refuse addresses inside your network.",
    )
    ca_file: CaFile | None = Field(
        None, description="PEM file of CAs to trust at webhook receivers beside the system's."
    )
    client_certificates: Mapping[
        str, Annotated[ClientCertificate, AfterValidator(_certificate)]
    ] = Field(
        {},
        description="JSON object of client certificates, as PEM files of the worker, by receiver: "
        "an endpoint (`acme/default`), a host name, `*.suffix`, or `*` for all; an endpoint "
        "comes first, then the first that matches: "
        '`{"*": {"cert": "/etc/gateway/client.pem", "key": "/etc/gateway/client.key"}}`.',
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
        SUBMIT_DEADLINE + timedelta(seconds=5),
        ge=SUBMIT_DEADLINE,
        description="Longest wait for running tasks after SIGTERM. At least 30 s, the deadline of "
        "a submit: one that is interrupted leaves its job in doubt.",
    )
    budget_thresholds: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(
        DEFAULT_THRESHOLDS,
        max_length=10,
        description="JSON list of the percents of a budget at which a tenant gets "
        "`budget.threshold`, once in each window. `[]`: no events.",
    )
    runcomfy: RunComfySettings = Field(RunComfySettings(), description="")
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

    @property
    def account(self) -> str:
        """Return the account that pays, with the token's fingerprint."""
        if self.simulated:
            return super().account
        return real_account(self.runcomfy_url, self.runcomfy_token.get_secret_value())

    def _uses_tls(self) -> bool:
        urls = (self.runcomfy_url, self.account_url or RUNCOMFY_ACCOUNT_URL)
        return all(url.startswith("https://") for url in urls)

    @model_validator(mode="after")
    def _archive_hosts_are_hosts(self) -> Self:
        try:
            AllowedTargets.parse(self.archive.allowed_hosts)
        except ValueError as error:
            raise ValueError(f"archive__allowed_hosts: {error}") from error
        return self

    @model_validator(mode="after")
    def _is_readable(self) -> Self:
        account = self.runcomfy_account_url
        if account is not None and not account.startswith(("http://", "https://")):
            raise ValueError("runcomfy_account_url: must start with http:// or https://")
        if self.runcomfy.proxy is not None and not self._uses_tls():
            raise ValueError("runcomfy__proxy: needs https:// in GATEWAY_RUNCOMFY_URL")
        if self.webhooks.proxy_resolves and self.webhooks.proxy is None:
            raise ValueError("webhooks__proxy_resolves: needs GATEWAY_WEBHOOKS__PROXY")
        try:
            AllowedTargets.parse(self.webhooks.allowed_targets)
        except ValueError as error:
            raise ValueError(f"webhooks__allowed_targets: {error}") from error
        try:
            PrivateSources.parse(self.files.fetch_from)
        except ValueError as error:
            raise ValueError(f"files__fetch_from: {error}") from error
        return self

    @model_validator(mode="after")
    def _simulates_only_a_simulator(self) -> Self:
        if self.simulated and self.runcomfy_url.rstrip("/") == RUNCOMFY_URL:
            raise ValueError("simulated: GATEWAY_RUNCOMFY_URL is the real RunComfy")
        return self

    @model_validator(mode="after")
    def _has_a_journal(self) -> Self:
        if self.journal.url is None:
            raise ValueError(
                "journal__url: is not set: file:///path or s3://bucket/prefix, shared by all "
                "workers, or off"
            )
        return self
