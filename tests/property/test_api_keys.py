import base64

from hypothesis import given
from hypothesis import strategies as st

from core.tenants.api_keys import (
    MAX_API_KEY_LENGTH,
    Credential,
    api_key_digest,
    build_api_key,
    parse_api_key,
)
from core.webhooks.secrets import encode_webhook_secret
from tests.support.api_keys import is_refused

names = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)

secrets = st.binary(min_size=32, max_size=32)


@given(names, secrets)
def test_a_minted_key_names_its_tenant_and_the_digest_that_is_stored(
    name: str, secret: bytes
) -> None:
    key = build_api_key(name, secret)
    assert parse_api_key(key) == Credential(tenant=name, digest=api_key_digest(key))
    assert len(key) <= MAX_API_KEY_LENGTH


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_stumble(key: str) -> None:
    assert is_refused(key)


@given(secrets)
def test_a_webhook_secret_is_what_the_standard_says(secret: bytes) -> None:
    text = encode_webhook_secret(secret)
    assert text.startswith("whsec_")
    assert base64.b64decode(text.removeprefix("whsec_"), validate=True) == secret
