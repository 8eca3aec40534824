"""The labels of the figures and the sets that their values keep to. Plain data."""

from dataclasses import dataclass
from typing import Final

from core.billing.settlement import Verdict
from core.jobs.job import FINAL_STATES, Fact
from core.tenants.limits import Window
from core.webhooks.delivery import DeliveryState

OTHER: Final = "other"
"""What stands for every value that a label does not know or has no more room for."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label's values: a closed set, or (`values` empty) the first `most` that are met."""

    name: str
    values: frozenset[str] = frozenset()
    most: int = 0


def closed(name: str, *values: str) -> Label:
    """A label with just these values."""
    return Label(name, frozenset(values))


TENANTS_MOST: Final = 100
MODELS_MOST: Final = 100
TENANT: Final = Label("tenant", most=TENANTS_MOST)
MODEL: Final = Label("model", most=MODELS_MOST)
ROUTE: Final = Label("route", most=100)
FINAL: Final = closed("state", *FINAL_STATES)
WINDOW: Final = closed("window", *Window)
LOOP: Final = closed("loop", "jobs", "deliveries")
PROCESS: Final = closed("process", "service", "worker")

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
SUBMIT_FACTS: Final = (Fact.ACCEPTED, Fact.NOT_SENT, Fact.REJECTED, Fact.NO_ANSWER)
ACCEPT_RESULTS: Final = ("accepted", "refused", "failed")
"""What a submit met: 2xx; the caller's to mend (4xx); ours (5xx)."""
SETTLED: Final = (Verdict.SPENT, Verdict.ESTIMATED, Verdict.FREE)
DELIVERY_ENDS: Final = (DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.HELD)
BOOKINGS: Final = ("settled", "released", "held", "saved")

TROUBLES: Final = (
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
DEFECTS: Final = ("internal_error", "illegal_transition", "job_step_failed", "delivery_step_failed")
"""Our own bugs: a trace is in the log."""
CODE: Final = closed("code", *TROUBLES)
