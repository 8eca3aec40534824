"""The labels of the figures and the sets that their values keep to. Plain data."""

from dataclasses import dataclass
from typing import Final

from core.billing.settlement import SettlementStatus
from core.jobs.job import FINAL_STATES, Trigger
from core.tenants.limits import Window
from core.webhooks.delivery import DeliveryState

OTHER: Final = "other"
"""What stands for every value that a label does not know or has no more room for."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label's values: a closed set, or (`values` empty) the first `most` that are met."""

    name: str
    values: frozenset[str] = frozenset()
    max_values: int = 0


def closed_label(name: str, *values: str) -> Label:
    """A label with just these values."""
    return Label(name, frozenset(values))


MAX_TENANT_VALUES: Final = 100
MAX_MODEL_VALUES: Final = 100
TENANT: Final = Label("tenant", max_values=MAX_TENANT_VALUES)
MODEL: Final = Label("model", max_values=MAX_MODEL_VALUES)
ROUTE: Final = Label("route", max_values=100)
FINAL_STATE: Final = closed_label("state", *FINAL_STATES)
WINDOW: Final = closed_label("window", *Window)
LOOP: Final = closed_label("loop", "jobs", "deliveries")
PROCESS: Final = closed_label("process", "service", "worker")

UPSTREAM_CALLS: Final = (
    "submit",
    "status",
    "result",
    "cancel",
    "models",
    "model",
    "categories",
    "balance",
)
UPSTREAM_FAULTS: Final = (
    "bad_name",
    "connect_error",
    "connect_timeout",
    "deadline",
    "error_in_200",
    "failed",
    "gone",
    "html",
    "http_429",
    "http_4xx",
    "http_5xx",
    "http_odd",
    "id_less",
    "malformed",
    "not_json",
    "no_output",
    "oversized",
    "pool_timeout",
    "protocol_error",
    "proxy_error",
    "read_timeout",
    "redirect",
    "refused_account",
    "reset",
    "unknown",
    "write_error",
    "write_timeout",
)
DELIVERY_OUTCOMES: Final = (
    "delivered",
    "gone",
    "slow_down",
    "redirect",
    "client_error",
    "server_error",
    "bad_answer",
    "timeout",
    "connect_error",
    "tls_error",
    "dns_error",
    "reset",
    "blocked_target",
    "busy",
    "unsendable",
)
POLL_OUTCOMES: Final = ("queued", "running", "ended", "gone", "unreachable")
SUBMIT_OUTCOMES: Final = (Trigger.ACCEPTED, Trigger.NOT_SENT, Trigger.REJECTED, Trigger.NO_ANSWER)
SUBMISSION_RESULTS: Final = ("accepted", "refused", "failed")
"""What a submit met: 2xx; the caller's to mend (4xx); ours (5xx)."""
SETTLED_STATUSES: Final = (
    SettlementStatus.SPENT,
    SettlementStatus.ESTIMATED,
    SettlementStatus.FREE,
)
ENDED_DELIVERY_STATES: Final = (DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.HELD)
RESERVATION_PARTS: Final = ("settled", "released", "held", "saved")

WARNINGS: Final = (
    "batch_completion_failed",
    "catalogue_sync_failed",
    "catalogue_fetch_failed",
    "catalogue_invalid",
    "pubsub_disconnected",
    "delivery_step_failed",
    "dispatch_failed",
    "child_process_died",
    "run_times_refresh_failed",
    "run_times_invalid",
    "illegal_transition",
    "internal_error",
    "job_record_missing",
    "replay_failed",
    "second_acceptance",
    "heartbeat_failed",
    "job_step_failed",
    "redis_not_durable",
    "index_pruning_failed",
    "balance_sync_failed",
    "balance_fetch_failed",
)
INTERNAL_ERRORS: Final = (
    "internal_error",
    "illegal_transition",
    "job_step_failed",
    "delivery_step_failed",
)
"""Our own bugs: a trace is in the log."""
WARNING_CODE: Final = closed_label("code", *WARNINGS)
