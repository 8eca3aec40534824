"""The HTTP proxy that outgoing connections may have to go through (CONNECT: RFC 9110, 9.3.6)."""

from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's URL without credentials, its host, and the credentials, which a repr hides."""

    url: str
    host: str
    auth: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The header fields of a CONNECT to it."""
        if self.auth is None:
            return {}
        login = b64encode(":".join(self.auth).encode()).decode()
        return {"Proxy-Authorization": f"Basic {login}"}

    @classmethod
    def parse(cls, secret: SecretStr) -> "Proxy":
        """Parse `http://[user:password@]host[:port]`. Raises `ValueError` without the password."""
        try:
            parts = urlsplit(secret.get_secret_value())
            port = parts.port
        except ValueError:
            raise ValueError("is not a valid URL") from None
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(
                "must be http://[user:password@]host[:port]; write / ? # @ : in a password as "
                "%2F %3F %23 %40 %3A"
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        auth = None
        if parts.username is not None:
            auth = (unquote(parts.username), unquote(parts.password or ""))
        return cls(f"http://{host}:{port or 80}", parts.hostname, auth)
