"""Endpoints and secrets as values: filters, rotation, headers, streams, bounds."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.errors import Conflict, NotFound
from core.webhooks.config import WebhookConfig, initial_config, reconcile
from core.webhooks.custom_headers import MAX_HEADERS, header_error, header_list_error
from core.webhooks.delivery import WebhookEventType
from core.webhooks.endpoint import (
    DEFAULT_ENDPOINT_ID,
    MAX_ENDPOINTS,
    DisabledReason,
    Endpoint,
    RedisStream,
    parse_stream_url,
)
from core.webhooks.secrets import MAX_SECRETS, Secret, SecretKind
from core.webhooks.signing_keys import encode_signing_key, public_key
from tests.support.records import HOUR, NOW, tenant

E = WebhookEventType
DAY = timedelta(days=1)
ENDS = {E.COMPLETED, E.FAILED, E.CANCELLED, E.BATCH_COMPLETED, E.ENDPOINT_DISABLED, E.TEST}


def new_endpoint(name: str = "ep_1", **changes: object) -> Endpoint:
    return Endpoint(name, f"https://{name}.example/", NOW, **changes)  # type: ignore[arg-type]  # fields of the record


def is_wanted(endpoint: Endpoint, *, asked: bool) -> set[WebhookEventType]:
    return {
        event
        for event in WebhookEventType
        if endpoint.is_subscribed_to(event, include_intermediate=asked)
    }


def test_what_an_endpoint_wants() -> None:
    assert is_wanted(new_endpoint(), asked=False) == ENDS
    assert is_wanted(new_endpoint(), asked=True) == set(WebhookEventType)
    picky = new_endpoint(events=frozenset({E.IN_PROGRESS}))
    assert is_wanted(picky, asked=False) == is_wanted(picky, asked=True) == {E.IN_PROGRESS, E.TEST}


def test_a_tenant_begins_with_what_it_was_created_with() -> None:
    setup = initial_config(tenant(webhook="https://hooks.example/"))
    (endpoint,) = setup.endpoints
    assert (endpoint.id, endpoint.url) == (DEFAULT_ENDPOINT_ID, "https://hooks.example/")
    assert setup.live_secrets(NOW) == tenant().webhook_secrets
    assert (setup.version, setup.live_signing_keys(NOW)) == (0, ())
    assert initial_config(tenant()).endpoints == ()


def test_endpoints_are_bounded_and_each_url_is_told_once() -> None:
    setup = WebhookConfig("a")
    for number in range(MAX_ENDPOINTS):
        setup = setup.with_endpoint(new_endpoint(f"ep_{number}"))
    assert setup.version == MAX_ENDPOINTS
    with pytest.raises(Conflict):
        setup.with_endpoint(new_endpoint("ep_more"))
    twin = Endpoint("ep_0", setup.endpoints[1].url, NOW)
    with pytest.raises(Conflict):
        setup.with_replaced_endpoint(twin)
    fewer = setup.without_endpoint("ep_3")
    assert len(fewer.endpoints) == MAX_ENDPOINTS - 1
    with pytest.raises(NotFound):
        fewer.without_endpoint("ep_3")


def test_a_disabled_endpoint_says_why_and_since_when() -> None:
    lost = (
        WebhookConfig("a")
        .with_endpoint(new_endpoint())
        .with_disabled_endpoint("ep_1", DisabledReason.GONE, NOW)
        .get_endpoint("ep_1")
    )
    assert (lost.disabled_reason, lost.disabled_at) == (DisabledReason.GONE, NOW)


@pytest.mark.parametrize("kind", SecretKind)
def test_while_secrets_are_rotated_both_count_until_the_overlap_is_over(kind: SecretKind) -> None:
    setup = WebhookConfig("a", secrets=(Secret("old"),), signing_keys=(Secret("old"),))
    rotated = setup.with_rotated_secret(kind, "new", NOW, DAY)
    live = rotated.live_secrets if kind is SecretKind.HMAC else rotated.live_signing_keys
    other = rotated.live_signing_keys if kind is SecretKind.HMAC else rotated.live_secrets
    assert live(NOW + DAY - timedelta(seconds=1)) == ("new", "old")
    assert live(NOW + DAY) == ("new",)
    assert other(NOW + 9 * DAY) == ("old",)


def test_a_second_rotation_does_not_lengthen_the_life_of_the_first() -> None:
    setup = WebhookConfig("a", secrets=(Secret("one"),))
    setup = setup.with_rotated_secret(SecretKind.HMAC, "two", NOW, HOUR)
    setup = setup.with_rotated_secret(SecretKind.HMAC, "three", NOW, DAY)
    assert setup.live_secrets(NOW + HOUR) == ("three", "two")


def test_without_an_overlap_the_old_one_ends_at_once() -> None:
    setup = WebhookConfig("a", secrets=(Secret("leaked"),))
    rotated = setup.with_rotated_secret(SecretKind.HMAC, "new", NOW, timedelta())
    assert rotated.secrets == (Secret("new"),)


def test_too_many_live_secrets_are_refused_and_ended_ones_forgotten() -> None:
    setup = WebhookConfig("a")
    for number in range(MAX_SECRETS):
        setup = setup.with_rotated_secret(SecretKind.HMAC, str(number), NOW, DAY)
    with pytest.raises(Conflict):
        setup.with_rotated_secret(SecretKind.HMAC, "more", NOW, DAY)
    later = setup.with_rotated_secret(SecretKind.HMAC, "more", NOW + DAY, DAY)
    assert len(later.secrets) == 2


STREAMS = {
    "stream:jobs": RedisStream("jobs"),
    "stream:a.b-c_1@analytics": RedisStream("a.b-c_1", "analytics"),
    "stream:": None,
    "stream:Jobs": None,
    "stream:a:b": None,
    "stream:jobs@": None,
    "stream:jobs@A": None,
    "stream:jobs@a@b": None,
    f"stream:{'a' * 64}": None,
    "redis://127.0.0.1/0": None,
    "https://hooks.example/": None,
}


@pytest.mark.parametrize(("url", "stream"), STREAMS.items())
def test_which_urls_are_streams(url: str, stream: RedisStream | None) -> None:
    assert parse_stream_url(url) == stream


HEADERS = {
    ("Authorization", "Bearer abc"): True,
    ("X-Api-Key", "k"): True,
    ("User-Agent", "ours"): True,
    ("Host", "evil.example"): False,
    ("webhook-id", "msg_forged"): False,
    ("Webhook-Signature", "v1,forged"): False,
    ("Content-Length", "0"): False,
    ("Transfer-Encoding", "chunked"): False,
    ("Connection", "close"): False,
    ("Upgrade", "h2c"): False,
    ("X-Forwarded-For", "127.0.0.1"): False,
    ("Proxy-Authorization", "x"): False,
    ("Cookie", "a=b"): False,
    ("a b", "x"): False,
    ("a:b", "x"): False,
    ("", "x"): False,
    ("x", ""): False,
    ("x", "a\r\nhost: evil"): False,
    ("x", " leading"): False,
    ("x", "ünïcode"): False,
    ("x", "a" * 1025): False,
}


@pytest.mark.parametrize(("header", "good"), HEADERS.items(), ids=str)
def test_which_headers_may_be_sent_along(header: tuple[str, str], *, good: bool) -> None:
    assert (header_error(*header) is None) is good


def test_headers_are_bounded_and_each_named_once() -> None:
    many = [(f"x-{number}", "1") for number in range(MAX_HEADERS + 1)]
    assert header_list_error(many[:-1]) is None
    assert header_list_error(many) is not None
    assert header_list_error([("X-Key", "1"), ("x-key", "2")]) is not None


def test_keys_are_written_as_standard_webhooks_has_it() -> None:
    # RFC 8032, 7.1, test 1.
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    text = encode_signing_key(seed)
    assert text == "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
    assert public_key(text) == "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


OWN = tenant(webhook="https://first.example/", webhook_secrets=("one",))


def changed_by_tenant() -> WebhookConfig:
    """The tenant made a second endpoint, and a secret of its own."""
    setup = initial_config(OWN).with_endpoint(new_endpoint())
    return setup.with_rotated_secret(SecretKind.HMAC, "own", NOW, DAY)


def test_what_a_tenant_changed_stays_while_operators_change_nothing() -> None:
    setup = changed_by_tenant()
    assert reconcile(setup, OWN) is setup


def test_an_operator_moves_the_default_endpoint_and_no_other() -> None:
    disabled = changed_by_tenant().with_disabled_endpoint(
        DEFAULT_ENDPOINT_ID, DisabledReason.GONE, NOW
    )
    moved = reconcile(disabled, replace(OWN, webhook="https://second.example/"))
    assert [(e.id, e.url) for e in moved.endpoints] == [
        (DEFAULT_ENDPOINT_ID, "https://second.example/"),
        ("ep_1", new_endpoint().url),
    ]
    assert moved.get_endpoint(DEFAULT_ENDPOINT_ID).disabled_reason is None
    assert moved.secrets == disabled.secrets
    gone = reconcile(disabled, replace(OWN, webhook=None))
    assert [e.id for e in gone.endpoints] == ["ep_1"]
    taken = reconcile(disabled, replace(OWN, webhook=new_endpoint().url))
    assert [e.id for e in taken.endpoints] == [DEFAULT_ENDPOINT_ID]


def test_an_operators_new_secret_comes_to_those_that_are_live() -> None:
    setup = reconcile(changed_by_tenant(), replace(OWN, webhook_secrets=("two", "one")))
    assert setup.live_secrets(NOW) == ("two", "own", "one")
    assert setup.live_secrets(NOW + DAY) == ("two", "own")
    third = reconcile(setup, replace(OWN, webhook_secrets=("three", "two")))
    assert third.live_secrets(NOW) == ("three", "two", "own")


def test_an_operators_overlap_ends_the_older_ones_at_the_latest() -> None:
    hour = NOW + HOUR
    rotated = replace(OWN, webhook_secrets=("two", "one"), webhook_overlap_ends_at=hour)
    assert initial_config(rotated).live_secrets(hour) == ("two",)
    setup = reconcile(changed_by_tenant(), rotated)  # the tenant's own overlap is a day
    assert setup.live_secrets(NOW) == ("two", "own", "one")
    assert setup.live_secrets(hour) == ("two",)
    later = replace(rotated, webhook_overlap_ends_at=NOW + 2 * DAY)
    assert reconcile(changed_by_tenant(), later).live_secrets(NOW + DAY) == ("two", "own")


def test_of_two_new_secrets_of_an_operator_the_older_one_ends() -> None:
    twice = replace(OWN, webhook_secrets=("three", "two"), webhook_overlap_ends_at=NOW + DAY)
    setup = reconcile(changed_by_tenant(), twice)
    assert setup.live_secrets(NOW) == ("three", "two", "own")
    assert setup.live_secrets(NOW + DAY) == ("three",)


def test_where_an_operator_retires_secrets_only_theirs_stays() -> None:
    setup = reconcile(changed_by_tenant(), replace(OWN, webhook_secrets=("two", "one")))
    left = reconcile(setup, replace(OWN, webhook_secrets=("two",)))
    assert left.live_secrets(NOW) == ("two",)
    assert reconcile(left, replace(OWN, webhook_secrets=("two",))) is left
