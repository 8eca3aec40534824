"""Records survive encoding unchanged, and older and newer gateways can read each other's."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from core.errors import RecordUnreadable
from core.jobs.job import BillingStatus, JobState
from core.store.codecs import (
    API_KEY_CODEC,
    CIRCUIT_BREAKER_CODEC,
    DELIVERY_ATTEMPT_CODEC,
    DELIVERY_CODEC,
    JOB_CODEC,
    TENANT_CODEC,
    WEBHOOK_CONFIG_CODEC,
    Codec,
)
from core.tenants.api_keys import ApiKey, Scope
from core.tenants.cache_policy import CacheMode, TenantCachePolicy
from core.tenants.tenant import DoubtPolicy, Tenant
from core.upstream.circuit_breaker import BreakerPolicy, BreakerReason, CircuitBreaker
from core.webhooks.delivery import Delivery, DeliveryAttempt
from core.webhooks.endpoint import Endpoint
from tests.support.records import NOW, delivery, job, webhook_config

SAMPLES: tuple[tuple[Codec[Any], Any], ...] = (
    (DELIVERY_CODEC, delivery()),
    (
        DELIVERY_CODEC,
        delivery(next_attempt_at=None, attempts=12, last_outcome="gone", finished_at=NOW),
    ),
    (DELIVERY_ATTEMPT_CODEC, DeliveryAttempt(NOW, 3, "timeout", 20_000, None, "ünïcode")),
    (TENANT_CODEC, Tenant("ada", NOW, doubt=DoubtPolicy.RESEND)),
    (WEBHOOK_CONFIG_CODEC, webhook_config("https://a.test/")),
    (TENANT_CODEC, Tenant("bob", NOW, disabled=True)),
    (
        TENANT_CODEC,
        Tenant("cyd", NOW, cache_policy=TenantCachePolicy(CacheMode.USE, timedelta(seconds=90))),
    ),
    (
        TENANT_CODEC,
        Tenant("dan", NOW, cache_policy=TenantCachePolicy(idempotency_required=True, promote=True)),
    ),
    (API_KEY_CODEC, ApiKey("d" * 64, "ada", NOW, frozenset({Scope.READ}), NOW)),
    (API_KEY_CODEC, ApiKey("d" * 64, "ada", NOW, frozenset())),
    (CIRCUIT_BREAKER_CODEC, CircuitBreaker()),
    (
        CIRCUIT_BREAKER_CODEC,
        CircuitBreaker().record_refusal(BreakerReason.ACCOUNT_REFUSED, "402", NOW, BreakerPolicy()),
    ),
    (
        CIRCUIT_BREAKER_CODEC,
        CircuitBreaker().record_throttle(timedelta(seconds=3), NOW, BreakerPolicy()),
    ),
)


@pytest.mark.parametrize(("codec", "value"), SAMPLES)
def test_each_kind_of_record_is_read_as_it_was_written(codec: Codec[Any], value: object) -> None:
    assert codec.decode(codec.encode(value)) == value


def test_defaults_are_left_out() -> None:
    document = orjson.loads(JOB_CODEC.encode(job()))
    assert set(document) == {
        "id",
        "tenant",
        "model_id",
        "fingerprint",
        "created_at",
        "updated_at",
    }


def test_a_record_of_an_older_gateway_reads_with_defaults() -> None:
    """Fields that were added later are absent in such a record."""
    bare = orjson.loads(JOB_CODEC.encode(job(JobState.RUNNING)))
    del bare["billed"]
    assert JOB_CODEC.decode(orjson.dumps(bare)).billed is BillingStatus.NO


def test_a_record_of_a_newer_gateway_reads_without_what_is_not_known_here() -> None:
    document = orjson.loads(JOB_CODEC.encode(job())) | {"a_later_field": {"x": [1]}}
    assert JOB_CODEC.decode(orjson.dumps(document)) == job()


@pytest.mark.parametrize(
    "document",
    [b"", b"{}", b"null", b"[]", b'{"id": "req_1"}', JOB_CODEC.encode(job())[:-1]],
)
def test_what_is_no_record_is_refused(document: bytes) -> None:
    with pytest.raises(RecordUnreadable):
        JOB_CODEC.decode(document)


def test_a_state_that_nobody_knows_is_refused_and_not_guessed() -> None:
    document = orjson.loads(JOB_CODEC.encode(job())) | {"state": "dreaming"}
    with pytest.raises(RecordUnreadable, match="state"):
        JOB_CODEC.decode(orjson.dumps(document))


def test_an_instant_keeps_its_microseconds_and_its_zone() -> None:
    odd = NOW + timedelta(microseconds=1)
    read: Delivery = DELIVERY_CODEC.decode(DELIVERY_CODEC.encode(delivery(created_at=odd)))
    assert read.created_at == odd
    assert read.created_at.tzinfo is not None


def _with(document: bytes, **more: object) -> bytes:
    """A record with fields that another release has added."""
    return orjson.dumps(orjson.loads(document) | more)


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (JOB_CODEC, job(JobState.RUNNING)),
        (DELIVERY_CODEC, delivery()),
        (TENANT_CODEC, Tenant("ada", NOW)),
        (WEBHOOK_CONFIG_CODEC, webhook_config("https://a.test/")),
    ],
)
def test_fields_of_another_release_survive_a_rewrite(codec: Codec[Any], value: Any) -> None:  # noqa: ANN401 - any record
    read = codec.decode(_with(codec.encode(value), later={"x": [1]}, flag=True))
    assert read == value
    written = orjson.loads(codec.encode(replace(read, version=99)))
    assert (written["later"], written["flag"], written["version"]) == ({"x": [1]}, True, 99)


def test_a_field_of_an_endpoint_stays_with_that_endpoint() -> None:
    config = webhook_config("https://a.test/")
    document = orjson.loads(WEBHOOK_CONFIG_CODEC.encode(config))
    document["endpoints"][0]["later"] = 7
    read = WEBHOOK_CONFIG_CODEC.decode(orjson.dumps(document))
    other = Endpoint("ep_new", "https://b.test/", NOW)
    both = replace(read, endpoints=(other, *read.endpoints))
    written = orjson.loads(WEBHOOK_CONFIG_CODEC.encode(both))
    assert [end.get("later") for end in written["endpoints"]] == [None, 7]
    without = replace(read, endpoints=(other,))
    assert "later" not in WEBHOOK_CONFIG_CODEC.encode(without).decode()


def test_what_is_wrong_names_the_place_and_no_value() -> None:
    document = _with(JOB_CODEC.encode(job()), state="dreaming", later=1)
    with pytest.raises(RecordUnreadable) as raised:
        JOB_CODEC.decode(document)
    assert "state" in str(raised.value)
    assert "dreaming" not in str(raised.value)
