"""Exits 0 if one of the URLs given answers 200, else 1. Needs nothing but Python."""

import sys
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from urllib.request import ProxyHandler, build_opener

_TIMEOUT_SECONDS: Final = 3


def is_responding(url: str) -> bool:
    """Whether a GET is answered by 200. A proxy of the environment is not asked."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=_TIMEOUT_SECONDS) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def main(urls: Sequence[str]) -> int:
    """The exit code."""
    return 0 if any(map(is_responding, urls)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
