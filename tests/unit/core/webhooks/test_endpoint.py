"""Endpoints and secrets as values: filters, rotation, headers, streams, bounds."""

from datetime import timedelta

import pytest

from core.errors import Conflict, NotFound
from core.webhooks.config import WebhookConfig
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
from tests.support.records import HOUR, NOW, SECRET, webhook_config

E = WebhookEventType
DAY = timedelta(days=1)
ENDS = {
    E.COMPLETED,
    E.FAILED,
    E.CANCELLED,
    E.ARCHIVED,
    E.BATCH_COMPLETED,
    E.BUDGET_THRESHOLD,
    E.ENDPOINT_DISABLED,
    E.TEST,
}


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
    setup = webhook_config("https://hooks.example/")
    (endpoint,) = setup.endpoints
    assert (endpoint.id, endpoint.url) == (DEFAULT_ENDPOINT_ID, "https://hooks.example/")
    assert setup.live_secrets(NOW) == (SECRET,)
    assert (setup.version, setup.live_signing_keys(NOW)) == (0, ())
    assert webhook_config().endpoints == ()


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


def changed_by_tenant() -> WebhookConfig:
    """The config after the tenant has added a second endpoint and a second secret."""
    setup = webhook_config("https://first.example/", "one").with_endpoint(new_endpoint())
    return setup.with_rotated_secret(SecretKind.HMAC, "own", NOW, DAY)


def test_the_same_default_url_changes_nothing() -> None:
    setup = changed_by_tenant()
    assert setup.default_url == "https://first.example/"
    assert setup.with_default_url("https://first.example/", NOW) is setup
    assert webhook_config().with_default_url(None, NOW) == webhook_config()


def test_an_operator_moves_the_default_endpoint_and_no_other() -> None:
    disabled = changed_by_tenant().with_disabled_endpoint(
        DEFAULT_ENDPOINT_ID, DisabledReason.GONE, NOW
    )
    moved = disabled.with_default_url("https://second.example/", NOW)
    assert [(e.id, e.url) for e in moved.endpoints] == [
        (DEFAULT_ENDPOINT_ID, "https://second.example/"),
        ("ep_1", new_endpoint().url),
    ]
    assert moved.get_endpoint(DEFAULT_ENDPOINT_ID).disabled_reason is None
    assert (moved.secrets, moved.version) == (disabled.secrets, disabled.version + 1)
    gone = disabled.with_default_url(None, NOW)
    assert [e.id for e in gone.endpoints] == ["ep_1"]
    taken = disabled.with_default_url(new_endpoint().url, NOW)
    assert [e.id for e in taken.endpoints] == [DEFAULT_ENDPOINT_ID]


def test_an_operators_rotation_ends_all_older_secrets_with_its_overlap() -> None:
    rotated = changed_by_tenant().with_rotated_secret(SecretKind.HMAC, "two", NOW, HOUR)
    assert rotated.live_secrets(NOW) == ("two", "own", "one")
    assert rotated.live_secrets(NOW + HOUR) == ("two",)
    later = changed_by_tenant().with_rotated_secret(SecretKind.HMAC, "two", NOW, 2 * DAY)
    assert later.live_secrets(NOW + DAY) == ("two", "own")


def test_where_older_secrets_are_retired_the_newest_stays() -> None:
    left = changed_by_tenant().without_older_secrets()
    assert left.live_secrets(NOW) == ("own",)
    assert left.without_older_secrets() is left


def test_older_signing_keys_are_retired_too() -> None:
    """A key pair that leaked signed on until its overlap ended."""
    config = changed_by_tenant()
    for name in ("pair-1", "pair-2"):
        config = config.with_rotated_secret(SecretKind.ED25519, name, NOW, DAY)
    left = config.without_older_secrets()
    assert (left.live_secrets(NOW), left.live_signing_keys(NOW)) == (("own",), ("pair-2",))


def test_an_endpoint_that_is_replaced_by_itself_is_no_change() -> None:
    config = changed_by_tenant().with_endpoint(Endpoint("ep_1", "https://a.example/hook", NOW))
    assert config.with_replaced_endpoint(config.get_endpoint("ep_1")) is config
