"""Encryption at rest: a tenant's webhook secrets and the values of its endpoints' headers.

Everything else that Redis holds is as it was sent; encrypt Redis's disk and connections for it.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from core.errors import SecretsUnreadable
from core.webhooks.config import WebhookConfig
from core.webhooks.secrets import Secret

# No secret and no header value can contain a NUL, so that none begins like an encrypted one.
_MARK: Final = "\0fernet:"


def new_encryption_key() -> str:
    """Return a random key: 32 bytes in URL-safe base64, as Fernet's specification wants."""
    return Fernet.generate_key().decode()


class SecretCipher:
    """Encrypts and decrypts the secrets of webhook configs. Without keys it encrypts nothing."""

    def __init__(self, keys: Iterable[SecretStr] = ()) -> None:
        """The first key encrypts; every key decrypts. Raises `ValueError` for a malformed key."""
        fernets = [Fernet(key.get_secret_value()) for key in keys]
        self._fernet = MultiFernet(fernets) if fernets else None

    def encrypt(self, config: WebhookConfig) -> WebhookConfig:
        """Return the config to store."""
        return _with_texts(config, self._encrypt_text)

    def decrypt(self, config: WebhookConfig) -> WebhookConfig:
        """Return the config to use; values that are not encrypted are kept.

        Raises `SecretsUnreadable` if no key decrypts a value.
        """
        return _with_texts(config, self._decrypt_text)

    def _encrypt_text(self, text: str) -> str:
        if self._fernet is None or text.startswith(_MARK):
            return text
        return _MARK + self._fernet.encrypt(text.encode()).decode()

    def _decrypt_text(self, text: str) -> str:
        if not text.startswith(_MARK):
            return text
        if self._fernet is None:
            raise SecretsUnreadable
        try:
            return self._fernet.decrypt(text.removeprefix(_MARK)).decode()
        except InvalidToken as error:
            raise SecretsUnreadable from error


def _with_texts(config: WebhookConfig, convert: Callable[[str], str]) -> WebhookConfig:
    def converted(secrets: tuple[Secret, ...]) -> tuple[Secret, ...]:
        return tuple(replace(secret, text=convert(secret.text)) for secret in secrets)

    endpoints = tuple(
        replace(endpoint, headers=tuple((name, convert(value)) for name, value in endpoint.headers))
        if endpoint.headers
        else endpoint
        for endpoint in config.endpoints
    )
    return replace(
        config,
        endpoints=endpoints,
        secrets=converted(config.secrets),
        signing_keys=converted(config.signing_keys),
    )
