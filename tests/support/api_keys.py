"""Checks of API keys."""

from core.errors import Unauthenticated
from core.tenants.api_keys import parse_api_key


def is_refused(key: str) -> bool:
    try:
        parse_api_key(key)
    except Unauthenticated:
        return True
    return False
