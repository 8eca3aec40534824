"""Exits with 0 if one of the given URLs answers 200, else with 1. Standard library only."""

import sys
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from urllib.request import ProxyHandler, build_opener

_TIMEOUT_SECONDS: Final = 3


def is_responding(url: str) -> bool:
    """Return whether a GET is answered with 200. Proxies of the environment are not used."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=_TIMEOUT_SECONDS) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def main(urls: Sequence[str]) -> int:
    """Return the exit code."""
    return 0 if any(map(is_responding, urls)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
