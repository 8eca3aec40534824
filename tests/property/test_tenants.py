from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from core.tenants.api_keys import KEY_LENGTH_LIMIT, Credential, digest_of, mint_key, read_key
from core.webhooks.secrets import mint_webhook_secret
from tests.unit.core.test_tenants import is_refused

names = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)

secrets = st.binary(min_size=32, max_size=32)


@given(names, secrets)
def test_a_minted_key_names_its_tenant_and_the_digest_that_is_stored(
    name: str, secret: bytes
) -> None:
    key = mint_key(name, secret)
    assert read_key(key) == Credential(tenant=name, digest=digest_of(key))
    assert len(key) <= KEY_LENGTH_LIMIT


@given(st.text(max_size=200))
def test_no_text_makes_the_reader_stumble(key: str) -> None:
    assert is_refused(key)


@given(secrets)
def test_a_webhook_secret_is_what_the_standard_says(secret: bytes) -> None:
    text = mint_webhook_secret(secret)
    assert text.startswith("whsec_")
    assert base64.b64decode(text.removeprefix("whsec_"), validate=True) == secret
