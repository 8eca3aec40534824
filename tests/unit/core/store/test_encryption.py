"""Webhook secrets are encrypted by the first key and decrypted by any."""

from dataclasses import replace

import pytest
from pydantic import SecretStr

from core.errors import SecretsUnreadable
from core.store.codecs import WEBHOOK_CONFIG_CODEC
from core.store.encryption import SecretCipher, new_encryption_key
from core.webhooks.config import WebhookConfig
from core.webhooks.endpoint import Endpoint
from core.webhooks.secrets import Secret
from tests.support.records import NOW

OLD, NEW, OTHER = (SecretStr(new_encryption_key()) for _ in range(3))
HEADERS = (("authorization", "Bearer h3ader"), ("x-plain", "\u0021"))
CONFIG = WebhookConfig(
    "ada",
    endpoints=(
        Endpoint("default", "https://a.example/", NOW, headers=HEADERS),
        Endpoint("ep_2", "https://b.example/", NOW),
    ),
    secrets=(Secret("whsec_s3cret"), Secret("whsec_0lder", NOW)),
    signing_keys=(Secret("whsk_k3y"),),
)
SECRETS = ("h3ader", "s3cret", "0lder", "k3y")


def stored(config: WebhookConfig) -> str:
    return WEBHOOK_CONFIG_CODEC.encode(config).decode()


def test_no_secret_is_stored_readable() -> None:
    cipher = SecretCipher([NEW])
    encrypted = cipher.encrypt(CONFIG)
    text = stored(encrypted)

    assert [secret for secret in SECRETS if secret in text] == []
    assert "https://a.example/" in text
    assert cipher.decrypt(WEBHOOK_CONFIG_CODEC.decode(text.encode())) == CONFIG


def test_each_key_decrypts_and_the_first_encrypts() -> None:
    by_old = SecretCipher([OLD]).encrypt(CONFIG)
    rotating = SecretCipher([NEW, OLD])

    assert rotating.decrypt(by_old) == CONFIG
    rewritten = rotating.encrypt(rotating.decrypt(by_old))
    assert SecretCipher([NEW]).decrypt(rewritten) == CONFIG
    with pytest.raises(SecretsUnreadable):
        SecretCipher([OLD]).decrypt(rewritten)


@pytest.mark.parametrize("keys", [[], [OTHER]])
def test_a_missing_key_is_an_error_and_never_a_wrong_secret(keys: list[SecretStr]) -> None:
    encrypted = SecretCipher([NEW]).encrypt(CONFIG)
    with pytest.raises(SecretsUnreadable):
        SecretCipher(keys).decrypt(encrypted)


def test_without_keys_nothing_changes() -> None:
    cipher = SecretCipher()
    assert cipher.encrypt(CONFIG) == CONFIG
    assert cipher.decrypt(CONFIG) == CONFIG


def test_values_from_before_the_first_key_are_read() -> None:
    assert SecretCipher([NEW]).decrypt(CONFIG) == CONFIG


def test_encrypting_twice_changes_nothing() -> None:
    cipher = SecretCipher([NEW])
    encrypted = cipher.encrypt(CONFIG)
    assert cipher.encrypt(encrypted) == encrypted


def test_a_tampered_value_is_refused() -> None:
    cipher = SecretCipher([NEW])
    encrypted = cipher.encrypt(CONFIG)
    text = encrypted.secrets[0].text
    tampered = replace(encrypted, secrets=(Secret(text[:-4] + "AAA="),))
    with pytest.raises(SecretsUnreadable):
        cipher.decrypt(tampered)


def test_a_malformed_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 url-safe base64"):
        SecretCipher([SecretStr("short")])
