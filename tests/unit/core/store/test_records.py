"""Records survive the wire unchanged, and older and newer gateways read each other's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from core.circuit_breaker import Breaker, BreakerPolicy
from core.jobs.job import Billed, JobState
from core.store.codecs import ATTEMPTS, BREAKERS, DELIVERIES, JOBS, KEYS, TENANTS, Codec
from core.tenants.api_keys import KeyRecord, Scope
from core.tenants.cache_policy import CacheMode, ReusePolicy
from core.tenants.tenant import DoubtPolicy, Tenant
from core.webhooks.delivery import Delivery, DeliveryAttempt
from tests.builders import NOW, delivery, job

SECRETS = ("whsec_one", "whsec_two")
SAMPLES: tuple[tuple[Codec[Any], Any], ...] = (
    (DELIVERIES, delivery()),
    (DELIVERIES, delivery(due_at=None, attempts=12, last_outcome="gone", finished_at=NOW)),
    (ATTEMPTS, DeliveryAttempt(NOW, 3, "timeout", 20_000, None, "ünïcode")),
    (TENANTS, Tenant("ada", NOW, "https://a.test/", SECRETS, doubt=DoubtPolicy.RESEND)),
    (TENANTS, Tenant("bob", NOW, disabled=True)),
    (TENANTS, Tenant("cyd", NOW, reuse=ReusePolicy(CacheMode.USE, timedelta(seconds=90)))),
    (TENANTS, Tenant("dan", NOW, reuse=ReusePolicy(idempotency_required=True, promote=True))),
    (KEYS, KeyRecord("d" * 64, "ada", NOW, frozenset({Scope.READ}), NOW)),
    (KEYS, KeyRecord("d" * 64, "ada", NOW, frozenset())),
    (BREAKERS, Breaker()),
    (BREAKERS, Breaker().refused("402", NOW, BreakerPolicy())),
    (BREAKERS, Breaker().throttled(timedelta(seconds=3), NOW, BreakerPolicy())),
)


@pytest.mark.parametrize(("codec", "value"), SAMPLES)
def test_each_kind_of_record_is_read_as_it_was_written(codec: Codec[Any], value: object) -> None:
    assert codec.read(codec.write(value)) == value


def test_defaults_are_left_out() -> None:
    document = orjson.loads(JOBS.write(job()))
    assert set(document) == {
        "id",
        "tenant",
        "model_id",
        "fingerprint",
        "created_at",
        "updated_at",
    }


def test_a_record_of_an_older_gateway_reads_with_defaults() -> None:
    """Fields that came later are absent in it."""
    bare = orjson.loads(JOBS.write(job(JobState.RUNNING)))
    del bare["billed"]
    assert JOBS.read(orjson.dumps(bare)).billed is Billed.NO


def test_a_record_of_a_newer_gateway_reads_without_what_is_not_known_here() -> None:
    document = orjson.loads(JOBS.write(job())) | {"a_later_field": {"x": [1]}}
    assert JOBS.read(orjson.dumps(document)) == job()


@pytest.mark.parametrize(
    "document",
    [b"", b"{}", b"null", b"[]", b'{"id": "req_1"}', JOBS.write(job())[:-1]],
)
def test_what_is_no_record_is_refused(document: bytes) -> None:
    with pytest.raises(ValidationError):
        JOBS.read(document)


def test_a_state_that_nobody_knows_is_refused_and_not_guessed() -> None:
    document = orjson.loads(JOBS.write(job())) | {"state": "dreaming"}
    with pytest.raises(ValidationError, match="state"):
        JOBS.read(orjson.dumps(document))


def test_an_instant_keeps_its_microseconds_and_its_zone() -> None:
    odd = NOW + timedelta(microseconds=1)
    read: Delivery = DELIVERIES.read(DELIVERIES.write(delivery(created_at=odd)))
    assert read.created_at == odd
    assert read.created_at.tzinfo is not None
