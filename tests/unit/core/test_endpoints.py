"""Endpoints and secrets as values: filters, rotation, headers, streams, bounds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from core.errors import Conflict, NotFound
from core.webhooks.config import WebhookSetup, reconciled, setup_of
from core.webhooks.custom_headers import MOST_HEADERS, header_objection, headers_objection
from core.webhooks.delivery import EventType
from core.webhooks.endpoint import (
    DEFAULT_ID,
    MOST_ENDPOINTS,
    Disabled,
    Endpoint,
    Stream,
    read_stream,
)
from core.webhooks.secrets import MOST_SECRETS, Secret, SecretKind
from core.webhooks.signing_keys import mint_signing_key, public_key
from tests.builders import HOUR, NOW, tenant

E = EventType
DAY = timedelta(days=1)
ENDS = {E.COMPLETED, E.FAILED, E.CANCELLED, E.BATCH_COMPLETED, E.ENDPOINT_DISABLED, E.TEST}


def end(name: str = "ep_1", **changes: object) -> Endpoint:
    return Endpoint(name, f"https://{name}.example/", NOW, **changes)  # type: ignore[arg-type]  # fields of the record


def wanted(endpoint: Endpoint, *, asked: bool) -> set[EventType]:
    return {event for event in EventType if endpoint.wants(event, asked=asked)}


def test_what_an_endpoint_wants() -> None:
    assert wanted(end(), asked=False) == ENDS
    assert wanted(end(), asked=True) == set(EventType)
    picky = end(events=frozenset({E.IN_PROGRESS}))
    assert wanted(picky, asked=False) == wanted(picky, asked=True) == {E.IN_PROGRESS, E.TEST}


def test_a_tenant_begins_with_what_it_was_created_with() -> None:
    setup = setup_of(tenant(webhook="https://hooks.example/"))
    (endpoint,) = setup.endpoints
    assert (endpoint.id, endpoint.url) == (DEFAULT_ID, "https://hooks.example/")
    assert setup.live_secrets(NOW) == tenant().webhook_secrets
    assert (setup.version, setup.live_keys(NOW)) == (0, ())
    assert setup_of(tenant()).endpoints == ()


def test_endpoints_are_bounded_and_each_url_is_told_once() -> None:
    setup = WebhookSetup("a")
    for number in range(MOST_ENDPOINTS):
        setup = setup.adding(end(f"ep_{number}"))
    assert setup.version == MOST_ENDPOINTS
    with pytest.raises(Conflict):
        setup.adding(end("ep_more"))
    twin = Endpoint("ep_0", setup.endpoints[1].url, NOW)
    with pytest.raises(Conflict):
        setup.changing(twin)
    fewer = setup.without("ep_3")
    assert len(fewer.endpoints) == MOST_ENDPOINTS - 1
    with pytest.raises(NotFound):
        fewer.without("ep_3")


def test_a_disabled_endpoint_says_why_and_since_when() -> None:
    lost = WebhookSetup("a").adding(end()).disabling("ep_1", Disabled.GONE, NOW).endpoint("ep_1")
    assert (lost.disabled, lost.disabled_at) == (Disabled.GONE, NOW)


@pytest.mark.parametrize("kind", SecretKind)
def test_while_secrets_are_rotated_both_count_until_the_overlap_is_over(kind: SecretKind) -> None:
    setup = WebhookSetup("a", secrets=(Secret("old"),), signing_keys=(Secret("old"),))
    rotated = setup.rotated(kind, "new", NOW, DAY)
    live = rotated.live_secrets if kind is SecretKind.HMAC else rotated.live_keys
    other = rotated.live_keys if kind is SecretKind.HMAC else rotated.live_secrets
    assert live(NOW + DAY - timedelta(seconds=1)) == ("new", "old")
    assert live(NOW + DAY) == ("new",)
    assert other(NOW + 9 * DAY) == ("old",)


def test_a_second_rotation_does_not_lengthen_the_life_of_the_first() -> None:
    setup = WebhookSetup("a", secrets=(Secret("one"),))
    setup = setup.rotated(SecretKind.HMAC, "two", NOW, HOUR)
    setup = setup.rotated(SecretKind.HMAC, "three", NOW, DAY)
    assert setup.live_secrets(NOW + HOUR) == ("three", "two")


def test_without_an_overlap_the_old_one_ends_at_once() -> None:
    setup = WebhookSetup("a", secrets=(Secret("leaked"),))
    rotated = setup.rotated(SecretKind.HMAC, "new", NOW, timedelta())
    assert rotated.secrets == (Secret("new"),)


def test_too_many_live_secrets_are_refused_and_ended_ones_forgotten() -> None:
    setup = WebhookSetup("a")
    for number in range(MOST_SECRETS):
        setup = setup.rotated(SecretKind.HMAC, str(number), NOW, DAY)
    with pytest.raises(Conflict):
        setup.rotated(SecretKind.HMAC, "more", NOW, DAY)
    later = setup.rotated(SecretKind.HMAC, "more", NOW + DAY, DAY)
    assert len(later.secrets) == 2


STREAMS = {
    "stream:jobs": Stream("jobs"),
    "stream:a.b-c_1@analytics": Stream("a.b-c_1", "analytics"),
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
def test_which_urls_are_streams(url: str, stream: Stream | None) -> None:
    assert read_stream(url) == stream


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
    assert (header_objection(*header) is None) is good


def test_headers_are_bounded_and_each_named_once() -> None:
    many = [(f"x-{number}", "1") for number in range(MOST_HEADERS + 1)]
    assert headers_objection(many[:-1]) is None
    assert headers_objection(many) is not None
    assert headers_objection([("X-Key", "1"), ("x-key", "2")]) is not None


def test_keys_are_written_as_standard_webhooks_has_it() -> None:
    # RFC 8032, 7.1, test 1.
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    text = mint_signing_key(seed)
    assert text == "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
    assert public_key(text) == "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


OWN = tenant(webhook="https://first.example/", webhook_secrets=("one",))


def changed_by_tenant() -> WebhookSetup:
    """The tenant made a second endpoint, and a secret of its own."""
    setup = setup_of(OWN).adding(end())
    return setup.rotated(SecretKind.HMAC, "own", NOW, DAY)


def test_what_a_tenant_changed_stays_while_operators_change_nothing() -> None:
    setup = changed_by_tenant()
    assert reconciled(setup, OWN) is setup


def test_an_operator_moves_the_default_endpoint_and_no_other() -> None:
    disabled = changed_by_tenant().disabling(DEFAULT_ID, Disabled.GONE, NOW)
    moved = reconciled(disabled, replace(OWN, webhook="https://second.example/"))
    assert [(e.id, e.url) for e in moved.endpoints] == [
        (DEFAULT_ID, "https://second.example/"),
        ("ep_1", end().url),
    ]
    assert moved.endpoint(DEFAULT_ID).disabled is None
    assert moved.secrets == disabled.secrets
    gone = reconciled(disabled, replace(OWN, webhook=None))
    assert [e.id for e in gone.endpoints] == ["ep_1"]
    taken = reconciled(disabled, replace(OWN, webhook=end().url))
    assert [e.id for e in taken.endpoints] == [DEFAULT_ID]


def test_an_operators_new_secret_comes_to_those_that_are_live() -> None:
    setup = reconciled(changed_by_tenant(), replace(OWN, webhook_secrets=("two", "one")))
    assert setup.live_secrets(NOW) == ("two", "own", "one")
    assert setup.live_secrets(NOW + DAY) == ("two", "own")
    third = reconciled(setup, replace(OWN, webhook_secrets=("three", "two")))
    assert third.live_secrets(NOW) == ("three", "two", "own")


def test_an_operators_overlap_ends_the_older_ones_at_the_latest() -> None:
    hour = NOW + HOUR
    rotated = replace(OWN, webhook_secrets=("two", "one"), webhook_overlap_ends_at=hour)
    assert setup_of(rotated).live_secrets(hour) == ("two",)
    setup = reconciled(changed_by_tenant(), rotated)  # the tenant's own overlap is a day
    assert setup.live_secrets(NOW) == ("two", "own", "one")
    assert setup.live_secrets(hour) == ("two",)
    later = replace(rotated, webhook_overlap_ends_at=NOW + 2 * DAY)
    assert reconciled(changed_by_tenant(), later).live_secrets(NOW + DAY) == ("two", "own")


def test_of_two_new_secrets_of_an_operator_the_older_one_ends() -> None:
    twice = replace(OWN, webhook_secrets=("three", "two"), webhook_overlap_ends_at=NOW + DAY)
    setup = reconciled(changed_by_tenant(), twice)
    assert setup.live_secrets(NOW) == ("three", "two", "own")
    assert setup.live_secrets(NOW + DAY) == ("three",)


def test_where_an_operator_retires_secrets_only_theirs_stays() -> None:
    setup = reconciled(changed_by_tenant(), replace(OWN, webhook_secrets=("two", "one")))
    left = reconciled(setup, replace(OWN, webhook_secrets=("two",)))
    assert left.live_secrets(NOW) == ("two",)
    assert reconciled(left, replace(OWN, webhook_secrets=("two",))) is left
