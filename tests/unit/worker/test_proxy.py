"""A proxy's URL is parsed once, and its password is in no text."""

import pytest
from pydantic import SecretStr

from worker.proxy import Proxy


@pytest.mark.parametrize(
    ("url", "expected", "headers"),
    [
        ("http://proxy:3128", "http://proxy:3128", {}),
        ("http://proxy", "http://proxy:80", {}),
        ("http://[::1]:3128/", "http://[::1]:3128", {}),
        (
            "http://me:p%40ss@proxy:3128",
            "http://proxy:3128",
            {"Proxy-Authorization": "Basic bWU6cEBzcw=="},
        ),
    ],
)
def test_url_is_parsed(url: str, expected: str, headers: dict[str, str]) -> None:
    proxy = Proxy.parse(SecretStr(url))
    assert (proxy.url, proxy.headers) == (expected, headers)
    assert "p@ss" not in repr(proxy)


@pytest.mark.parametrize(
    "url",
    [
        "proxy:3128",
        "https://proxy:3128",
        "socks5://proxy:1080",
        "http://",
        "http://me:s3cret/x@proxy:3128",
        "http://me:s3cret@proxy:99999",
        "http://[::1:3128",
        "http://proxy/path",
    ],
)
def test_other_urls_are_refused_without_the_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be http://|is not a valid URL") as refused:
        Proxy.parse(SecretStr(url))
    assert "s3cret" not in str(refused.value)
