"""Which RunComfy account pays for a store's jobs, as the store and a process name it. Pure.

    simulated               a simulated RunComfy: nothing costs money
    real                    the real one; a service or a command, which has no token
    real 3f9c2a1be07d5c48   the real one, by a token with this fingerprint

A store keeps the name of the first that used it. A token that replaces another one of the same
account is added by an operator: `real NEW OLD`.
"""

from hashlib import blake2b
from typing import Final
from urllib.parse import urlsplit

SIMULATED: Final = "simulated"
REAL: Final = "real"
MAX_TOKENS: Final = 2
"""How many tokens of one account a store accepts: the new one, and the one that it replaces."""
_DIGEST_BYTES: Final = 8
_FINGERPRINT_LENGTH: Final = 2 * _DIGEST_BYTES


def real_account(url: str, token: str) -> str:
    """Return the name of the account that `token` has at the host of `url`.

    The host counts: a stand-in for RunComfy must not be taken for it because of a copied token.
    """
    host = urlsplit(url).hostname or ""
    digest = blake2b(f"{host}\n{token}".encode(), digest_size=_DIGEST_BYTES)
    return f"{REAL} {digest.hexdigest()}"


def bind(held: str, own: str) -> str:
    """Return the account of a store that had `held` ("": none yet) once a process of `own` uses it.

    It changes only where the store has no account, or no token was known yet.
    """
    return own if not held or own.startswith(f"{held} ") else held


def add_token(held: str, fingerprint: str) -> str:
    """Return the account of a store that accepts a further token.

    Raises `ValueError` for a malformed fingerprint or a simulated store.
    """
    if len(fingerprint) != _FINGERPRINT_LENGTH or not set(fingerprint) <= set("0123456789abcdef"):
        raise ValueError(f"A fingerprint has {_FINGERPRINT_LENGTH} digits 0-9 and a-f.")
    kind, *known = held.split() or [REAL]
    if kind != REAL:
        raise ValueError("This Redis belongs to a simulated gateway: real jobs need another one.")
    others = [each for each in known if each != fingerprint]
    return " ".join([REAL, fingerprint, *others[: MAX_TOKENS - 1]])


def account_issue(held: str, own: str) -> str | None:
    """Return why a process of `own` must not use a store of `held`; None if it may."""
    if not held or not own:
        return None
    (kind, *known), (own_kind, *tokens) = held.split(), own.split()
    if kind != own_kind:
        process = "is simulated" if own_kind == SIMULATED else "is not simulated"
        return (
            f"This Redis belongs to a {kind} gateway, and this process {process}: correct "
            "GATEWAY_REDIS_URL, or GATEWAY_SIMULATED."
        )
    if not known or not tokens or tokens[0] in known:
        return None
    return (
        f"This Redis belongs to the RunComfy account {known[0]}, and GATEWAY_RUNCOMFY_TOKEN is of "
        f"{tokens[0]}: correct one of them, or run `gateway store adopt {tokens[0]}` if it is a "
        "new token of the same account."
    )
