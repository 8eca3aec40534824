"""Settings of both processes: Redis, logs, metrics, traces. Read once, when a process starts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from core.archive import ArchiveMode, ArchiveRules
from core.files.delivery import DeliveryPolicy, FileDelivery
from core.labels import (
    LABEL_KEY_PATTERN,
    LABEL_VALUE_PATTERN,
    MAX_NAMED_LABELS,
    MAX_NAMED_VALUES,
)
from core.retention import USAGE_RETENTION, WINDOW_RETENTION
from core.runcomfy_account import REAL, SIMULATED
from core.settings.sources import SecretFilesSource, env_file_source

ENV_PREFIX = "GATEWAY_"


def _seconds(value: object) -> object:
    """Parse digits as seconds; leave ISO 8601 durations to pydantic."""
    if isinstance(value, str) and value.strip().replace(".", "", 1).isdigit():
        return timedelta(seconds=float(value))
    return value


def _has_telemetry() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


Seconds = Annotated[timedelta, BeforeValidator(_seconds)]
"""A duration in the environment: a number of seconds, or an ISO 8601 duration."""


def _redis_url(url: SecretStr) -> SecretStr:
    """Reject a URL that would be misread. The error text must not contain the password."""
    text = url.get_secret_value()
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must start with redis://, rediss:// or unix://")
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        parts = None
    if parts is None or ("@" in text and "@" not in parts.netloc and parts.scheme != "unix"):
        raise ValueError("is not a valid URL; write / ? # @ : in a password as %2F %3F %23 %40 %3A")
    return url


RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
SinkUrls = Mapping[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")], RedisUrl]
"""Redis servers, by the names that tenants use for them."""


def _encryption_keys(keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
    try:
        for key in keys:
            Fernet(key.get_secret_value())
    except ValueError:
        raise ValueError("each must be 32 bytes in URL-safe base64") from None
    return keys


def _key_file(path: Path) -> Path:
    _encryption_keys(_keys_in(path))
    return path


def _keys_in(path: Path) -> tuple[SecretStr, ...]:
    return tuple(SecretStr(line) for line in path.read_text(encoding="utf-8").split())


EncryptionKeys = Annotated[tuple[SecretStr, ...], AfterValidator(_encryption_keys)]
"""Fernet keys, newest first."""


JOURNAL_OFF: Final = "off"
MIN_JOURNAL_RETENTION: Final = timedelta(days=40)
"""Entries of the last 30 days are compared with the store, of jobs that were 8 days old then."""
_BUCKET_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STORAGE_SCHEMES: Final = ("file:///", "s3://", "gs://", "az://")


def _storage_url(url: str) -> str:
    """Return the URL of a folder or bucket. Raises `ValueError`."""
    if not url.startswith(_STORAGE_SCHEMES):
        raise ValueError("must start with file:///, s3://, gs:// or az://")
    place = urlsplit(url)
    if url.startswith("file:"):
        if not place.path.strip("/"):
            raise ValueError("names no folder: file:///path")
    elif not _BUCKET_NAME.fullmatch(place.netloc):
        raise ValueError("names no bucket: s3://bucket/prefix, gs://bucket/prefix or az://…")
    return url


def _journal_url(url: str) -> str:
    if url == JOURNAL_OFF:
        return url
    if not url.startswith(_STORAGE_SCHEMES):
        raise ValueError("must start with file:///, s3://, gs:// or az://, or be off")
    return _storage_url(url)


def _journal_retention(span: timedelta) -> timedelta:
    if span < MIN_JOURNAL_RETENTION:
        raise ValueError(f"must be at least {MIN_JOURNAL_RETENTION.days} days")
    return span


def _usage_retention(span: timedelta) -> timedelta:
    if span < WINDOW_RETENTION:
        raise ValueError(f"must be at least {WINDOW_RETENTION.days} days")
    return span


JournalUrl = Annotated[str, AfterValidator(_journal_url)]

LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
"""The minimum level of log lines; Python's own names."""


@dataclass(frozen=True, slots=True)
class RedisPolicy:
    """How to connect to Redis, and how long to wait for it."""

    url: SecretStr
    sentinels: tuple[tuple[str, int], ...]
    master: str
    timeout: timedelta
    connect_timeout: timedelta
    replicas: int = 0
    sentinel_username: str | None = None
    sentinel_password: SecretStr | None = None
    account: str = ""
    """The account whose store it must be (`core.runcomfy_account`); empty: any."""


class JournalSettings(BaseModel):
    """The journal of paid submits, which prevents a second payment whatever Redis forgets."""

    model_config = ConfigDict(frozen=True)

    url: JournalUrl | None = Field(
        None,
        description="Where the journal is kept; all workers must share it: `file:///path`, "
        "`s3://bucket/prefix`, `gs://…`, `az://…`, or `off`. `gateway work` needs it.",
    )
    timeout: Seconds = Field(timedelta(seconds=5), description="Timeout of a call of the journal.")
    retention: Annotated[Seconds, AfterValidator(_journal_retention)] = Field(
        MIN_JOURNAL_RETENTION,
        description="How long entries are kept, from their job's creation; at least 40 days.",
    )


class ObjectSettings(BaseModel):
    """The storage of uploaded files and of what is too large for Redis."""

    model_config = ConfigDict(frozen=True)

    url: Annotated[str, AfterValidator(_storage_url)] | None = Field(
        None,
        description="Where uploaded files are kept; all services and workers must share it: "
        "`file:///path`, `s3://bucket/prefix`, `gs://…` or `az://…`. Unset: no files can be "
        "uploaded.",
    )
    timeout: Seconds = Field(timedelta(seconds=30), description="Timeout of a call of the storage.")
    min_input_bytes: int = Field(
        64 * 1024,
        ge=1024,
        description="Texts of an input above this size, such as `data:` URIs, are kept in the "
        "storage and not in Redis.",
    )


class ArchiveSettings(BaseModel):
    """Which outputs are kept, and how they are fetched from RunComfy."""

    model_config = ConfigDict(frozen=True)

    mode: ArchiveMode = Field(
        ArchiveMode.OFF,
        description="When outputs are kept in `GATEWAY_OBJECTS__URL`, of tenants without a setting "
        "of their own: `off`, `after` the request completed, or `before` it completes.",
    )
    models: Mapping[str, ArchiveMode] = Field(
        {},
        description="JSON object of modes by pattern of model ids; the first that fits comes "
        'before the setting of a tenant: `{"kling/*": "before"}`.',
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="JSON list of host patterns, IP addresses and CIDRs from which outputs are "
        "fetched beside RunComfy's media hosts; these may be private, and use `http`.",
    )
    max_bytes: int = Field(2**30, ge=1024, description="Largest output that is kept, in bytes.")
    max_concurrency: int = Field(
        16, ge=1, le=64, description="Requests whose outputs a worker keeps at the same time."
    )
    before_timeout: Seconds = Field(
        timedelta(minutes=10),
        description="How long a request waits at most for its outputs to be kept with `before`; "
        "then it completes with RunComfy's links, and they are kept after.",
    )

    @property
    def rules(self) -> ArchiveRules:
        """Return who keeps outputs."""
        return ArchiveRules(self.mode, tuple(self.models.items()))


class FileSettings(BaseModel):
    """How RunComfy gets the files that inputs name."""

    model_config = ConfigDict(frozen=True)

    delivery: FileDelivery = Field(
        FileDelivery.AUTO,
        description="How RunComfy gets a file: `presigned` (the bucket serves it), `link` (the "
        "gateway serves it under `GATEWAY_PUBLIC_URL`), `data_uri` (in the input itself), or "
        "`auto`: the first of these that can be used.",
    )
    max_data_uri_bytes: int = Field(
        10 * 2**20, gt=0, description="Largest file that is sent in the input itself, in bytes."
    )
    fetch_from: tuple[str, ...] = Field(
        (),
        description="JSON list of internal hosts (`assets.corp`, `*.renders.corp`, an address) and "
        "URLs of folders (`https://files.corp:8443/shots/`) from which workers fetch the media of "
        "inputs. Every tenant can read media there: see files.md. Empty: none.",
    )
    fetch_timeout: Seconds = Field(
        timedelta(seconds=60), description="Timeout of fetching one file from there."
    )
    ca_file: FilePath | None = Field(
        None,
        description="PEM file of further CAs for these hosts, beside those that the system trusts.",
    )


_LabelKey = Annotated[str, Field(pattern=f"^{LABEL_KEY_PATTERN}$")]
_LabelValue = Annotated[str, Field(pattern=f"^{LABEL_VALUE_PATTERN}$")]


class MetricsSettings(BaseModel):
    """Limits on the number of time series, and who may read them."""

    model_config = ConfigDict(frozen=True)

    max_tenants: int = Field(
        100,
        ge=0,
        description="Maximum number of distinct tenant labels in metrics; further tenants are "
        "reported as `other`.",
    )
    max_models: int = Field(
        100,
        ge=0,
        description="Maximum number of distinct model labels in metrics; further models are "
        "reported as `other`.",
    )

    labels: Annotated[
        Mapping[_LabelKey, Annotated[tuple[_LabelValue, ...], Field(max_length=MAX_NAMED_VALUES)]],
        Field(max_length=MAX_NAMED_LABELS),
    ] = Field(
        {},
        description="JSON object of the labels of jobs that metrics have, with their values: "
        '`{"team": ["growth", "research"]}`; other values are reported as `other`. Up to '
        f"{MAX_NAMED_LABELS} labels with {MAX_NAMED_VALUES} values each.",
    )
    token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Bearer token that `/metrics` of services and workers then needs; set it when "
        "their ports are reachable from other machines. `/healthz` there needs none.",
    )

    @property
    def token_text(self) -> str | None:
        """The token; None: none is needed."""
        return None if self.token is None else self.token.get_secret_value()

    @property
    def named_labels(self) -> Mapping[str, frozenset[str]]:
        """The labels of jobs that metrics have, with their values."""
        return {key: frozenset(values) for key, values in self.labels.items()}

    @property
    def label_limits(self) -> dict[str, int]:
        """The maximum number of values of each label."""
        return {"tenant": self.max_tenants, "model": self.max_models}


class ProcessSettings(BaseSettings):
    """The settings of every process of the gateway."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        env_ignore_empty=True,
        populate_by_name=True,
    )

    env_file: FilePath | None = Field(
        None,
        description="File of further `NAME=value` lines, for services, workers and commands alike; "
        "a variable of the environment comes first. `gateway --env-file FILE` sets it.",
    )
    allow_unknown_settings: bool = Field(
        default=False,
        description="Start although a `GATEWAY_…` variable is no setting, which is a misspelt one "
        "as a rule.",
    )
    simulated: bool = Field(
        default=False,
        description="Whether RunComfy is simulated. A simulated service or worker refuses a Redis "
        "with real jobs, and a real one refuses a Redis with simulated jobs.",
    )
    redis_url: RedisUrl = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="URL of Redis: `redis://`, `rediss://` (TLS) or `unix://`.",
    )
    redis_sentinels: tuple[str, ...] = Field(
        (), description='JSON list of Redis Sentinels: `["host:26379"]`. Empty: no Sentinel.'
    )
    redis_master: str = Field("mymaster", description="Name of the master in Sentinel.")
    redis_replicas: int = Field(
        0,
        ge=0,
        le=9,
        description="How many replicas must have an accepted job before its 202, and a claim "
        "before its submit: all that may be elected master. 0: do not wait for replicas.",
    )
    redis_sentinel_username: str | None = Field(
        None, description="User name for the Sentinels, if they have ACLs."
    )
    redis_sentinel_password: SecretStr | None = Field(
        None,
        description="Password of the Sentinels. The password in `GATEWAY_REDIS_URL` is the "
        "master's.",
    )
    redis_timeout: Seconds = Field(timedelta(seconds=3), description="Timeout of a Redis command.")
    redis_connect_timeout: Seconds = Field(
        timedelta(seconds=2), description="Timeout of connecting to Redis."
    )
    encryption_keys: EncryptionKeys = Field(
        (),
        description="JSON list of Fernet keys (`gateway encryption new-key`) for webhook secrets "
        "and header values in Redis: the first encrypts, all decrypt. Empty: no encryption.",
    )
    encryption_keys_file: Annotated[FilePath, AfterValidator(_key_file)] | None = Field(
        None,
        description="File with one such key per line, before those of `GATEWAY_ENCRYPTION_KEYS`.",
    )
    sinks: SinkUrls = Field(
        {},
        description=(
            "JSON object of further Redis servers to which tenants may have webhook events "
            'written as streams: `{"analytics": "rediss://…"}`.'
        ),
    )
    public_url: str | None = Field(
        None, description="Base of the URLs in responses. Default: the base URL of the request."
    )
    log_format: LogFormat = Field(
        "auto",
        description="`json`, `console`, or `auto`: console on a terminal, else JSON.",
    )
    traces: bool = Field(
        default=False,
        description="Export traces by OTLP over HTTP to `OTEL_EXPORTER_OTLP_ENDPOINT`; needs the "
        "extra `otel`.",
    )
    traces_sample_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Ratio of new traces to sample. A trace that a caller's `traceparent` "
        "continues keeps the caller's decision.",
    )
    log_level: LogLevel = Field("INFO", description="Lowest level that is logged.")

    usage_retention: Annotated[Seconds, AfterValidator(_usage_retention)] = Field(
        USAGE_RETENTION,
        description="How long the usage of a day is kept; at least 75 days.",
    )
    journal: JournalSettings = Field(JournalSettings(), description="The journal of paid submits.")
    objects: ObjectSettings = Field(ObjectSettings(), description="The storage of uploaded files.")
    files: FileSettings = Field(FileSettings(), description="Delivery of files to RunComfy.")
    archive: ArchiveSettings = Field(ArchiveSettings(), description="The archive of outputs.")
    metrics: MetricsSettings = Field(
        MetricsSettings(), description="Limits on the number of time series."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, then secrets' files, then the file that the environment names."""
        del dotenv_settings, file_secret_settings
        in_file = env_file_source(settings_cls)
        return init_settings, env_settings, SecretFilesSource(settings_cls), in_file

    @model_validator(mode="after")
    def _sentinels_are_addressable(self) -> Self:
        _ = self.redis
        return self

    @model_validator(mode="after")
    def _traces_can_be_made(self) -> Self:
        if self.traces and not _has_telemetry():
            raise ValueError("traces: needs the extra: pip install 'runcomfy-gateway[otel]'")
        return self

    @model_validator(mode="after")
    def _files_can_be_kept_and_delivered(self) -> Self:
        if self.files.delivery is FileDelivery.LINK and not self.public_url:
            raise ValueError("files__delivery: link needs GATEWAY_PUBLIC_URL")
        if self.files.fetch_from and self.objects.url is None:
            raise ValueError("files__fetch_from: needs GATEWAY_OBJECTS__URL")
        return self

    @model_validator(mode="after")
    def _outputs_have_a_storage(self) -> Self:
        modes = {self.archive.mode, *self.archive.models.values()}
        if self.objects.url is None and modes != {ArchiveMode.OFF}:
            raise ValueError("archive: needs GATEWAY_OBJECTS__URL")
        return self

    @property
    def sample_ratio(self) -> float | None:
        """The sampled share of new traces; None: there is no tracing."""
        return self.traces_sample_ratio if self.traces else None

    @property
    def delivery_policy(self) -> DeliveryPolicy:
        """Return how RunComfy gets files."""
        base = self.public_url.rstrip("/") if self.public_url else None
        return DeliveryPolicy(self.files.delivery, self.files.max_data_uri_bytes, base)

    @property
    def public_base(self) -> str | None:
        """Return the base of the gateway's own URLs, if it is set."""
        return self.public_url.rstrip("/") if self.public_url else None

    @property
    def secret_keys(self) -> tuple[SecretStr, ...]:
        """Return the encryption keys, newest first: those of the file, then the others."""
        in_file = _keys_in(self.encryption_keys_file) if self.encryption_keys_file else ()
        return (*in_file, *self.encryption_keys)

    @property
    def account(self) -> str:
        """Return the account that pays; see `core.runcomfy_account`."""
        return SIMULATED if self.simulated else REAL

    @property
    def own_redis(self) -> RedisPolicy:
        """As `redis`, for a service or worker: a store of another account is refused."""
        return replace(self.redis, account=self.account)

    @property
    def redis(self) -> RedisPolicy:
        """Return the Redis settings. Raises `ValueError` for a Sentinel without a port."""
        pairs = [address.rpartition(":") for address in self.redis_sentinels]
        return RedisPolicy(
            url=self.redis_url,
            sentinels=tuple((host, int(port)) for host, _, port in pairs),
            master=self.redis_master,
            replicas=self.redis_replicas,
            timeout=self.redis_timeout,
            connect_timeout=self.redis_connect_timeout,
            sentinel_username=self.redis_sentinel_username,
            sentinel_password=self.redis_sentinel_password,
        )
