from datetime import timedelta

import pytest
from pydantic import SecretStr

from worker.upstream.config import UpstreamAccess, UpstreamLimits


@pytest.mark.parametrize(
    "url",
    [
        "",
        "model-api.runcomfy.net",
        "ftp://x",
        "https://",
        "https://u:p@x",
        "https://x?y=1",
        "https://x#y",
        "https://x:99999",
    ],
)
def test_a_base_url_is_checked_at_start(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        UpstreamAccess(url, SecretStr("tok"))


@pytest.mark.parametrize("token", ["", "a b", "tok\r\nX-Evil: 1", "tökën"])
def test_a_token_no_header_can_carry_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ValueError, match="token") as refused:
        UpstreamAccess("https://x", SecretStr(token))

    assert not token or token not in str(refused.value)


def test_access_shows_no_token() -> None:
    access = UpstreamAccess("https://x", SecretStr("tok-5ecret"))

    assert "tok-5ecret" not in f"{access!r} {access!s}"


@pytest.mark.parametrize("base", ["https://x/deep", "https://x/deep/"])
def test_urls_stand_on_the_base(base: str) -> None:
    assert UpstreamAccess(base, SecretStr("t")).url("/v1/models") == "https://x/deep/v1/models"


def test_reads_must_end_before_their_lease() -> None:
    assert UpstreamLimits().read_deadline < timedelta(seconds=15)
    with pytest.raises(ValueError, match="read_deadline"):
        UpstreamLimits(read_deadline=timedelta(seconds=15))
