"""Fetching outputs: only from allowed hosts, by checked addresses, through checked redirects."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, Final, cast

import aiohttp
import pytest

from core.archive import ArchiveError
from core.webhooks.url_policy import Refusal, RefusalReason, Target
from worker.ports import MediaUnavailable
from worker.sources.media_client import MediaClient, is_media_host
from worker.webhooks.resolved_target import PinnedTarget

VIDEO: Final = "https://media.runcomfy.net/1/output.mp4?token=secret"
SECOND: Final = timedelta(seconds=1)
ADDRESS: Final = ip_address("203.0.113.9")


@dataclass
class StubResponse:
    """An answer; its content breaks off with `error`."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "Video/MP4; x=1"})
    chunks: tuple[bytes, ...] = (b"ab", b"cd")
    error: Exception | None = None
    is_closed: bool = False

    @property
    def content(self) -> SimpleNamespace:
        return SimpleNamespace(iter_chunked=self._iterate)

    async def _iterate(self, size: int) -> AsyncIterator[bytes]:
        del size
        for chunk in self.chunks:
            yield chunk
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.is_closed = True


@dataclass
class StubSession:
    """Answers in turn; keeps what was sent."""

    answers: list[StubResponse | Exception]
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def get(self, url: object, **options: Any) -> StubResponse:  # noqa: ANN401 - aiohttp's
        self.sent.append((str(url), options))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def resolve(url: str) -> PinnedTarget | Refusal:
    """The hosts of this test, each at an address."""
    host = url.partition("://")[2].partition("/")[0]
    if host == "private.runcomfy.net":
        return Refusal(RefusalReason.ADDRESS, "the host's address is private")
    if host == "absent.runcomfy.net":
        return Refusal(RefusalReason.UNRESOLVED, "the host's name does not resolve")
    path = url.partition(host)[2]
    return PinnedTarget(Target("https", host, 443, path), ADDRESS, host == "minio.internal")


async def fetch(url: str, *answers: StubResponse | Exception) -> tuple[str, bytes, StubSession]:
    session = StubSession(list(answers))
    fetcher = MediaClient(cast("aiohttp.ClientSession", session), resolve, SECOND, SECOND, SECOND)
    async with fetcher.fetch(url) as media:
        content = b"".join([chunk async for chunk in media.chunks])
    return media.declared_type, content, session


async def refused(url: str, *answers: StubResponse | Exception) -> ArchiveError:
    with pytest.raises(MediaUnavailable) as caught:
        await fetch(url, *answers)
    assert "secret" not in str(caught.value)
    return caught.value.reason


async def test_an_output_is_read_at_its_checked_address() -> None:
    answer = StubResponse()
    declared, content, session = await fetch(VIDEO, answer)
    assert (declared, content, answer.is_closed) == ("video/mp4", b"abcd", True)
    ((url, options),) = session.sent
    assert url == "https://203.0.113.9/1/output.mp4?token=secret"
    assert options["headers"] == {"host": "media.runcomfy.net", "accept-encoding": "identity"}
    assert (options["server_hostname"], options["allow_redirects"]) == ("media.runcomfy.net", False)


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("media.runcomfy.net", True),
        ("runcomfy.com", True),
        ("runcomfy.net.evil.example", False),
        ("evilruncomfy.net", False),
        ("", False),
    ],
)
def test_hosts_of_runcomfy_are_those_of_its_domains(host: str, *, is_ours: bool) -> None:
    assert is_media_host(host) is is_ours


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://elsewhere.example/1.mp4", ArchiveError.HOST),
        ("https://private.runcomfy.net/1.mp4", ArchiveError.HOST),
        ("https://absent.runcomfy.net/1.mp4", ArchiveError.UNREACHABLE),
    ],
)
async def test_other_hosts_are_not_called(url: str, reason: ArchiveError) -> None:
    assert await refused(url) is reason


async def test_the_operator_s_list_allows_further_hosts() -> None:
    assert (await fetch("https://minio.internal/1.mp4", StubResponse()))[1] == b"abcd"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (StubResponse(404), ArchiveError.GONE),
        (StubResponse(410), ArchiveError.GONE),
        (StubResponse(403), ArchiveError.UNREACHABLE),
        (StubResponse(503), ArchiveError.UNREACHABLE),
        (StubResponse(302, {}), ArchiveError.UNREACHABLE),
        (aiohttp.ClientConnectionError("secret"), ArchiveError.UNREACHABLE),
        (TimeoutError(), ArchiveError.UNREACHABLE),
        (StubResponse(error=aiohttp.ClientPayloadError("secret")), ArchiveError.UNREACHABLE),
    ],
)
async def test_what_the_host_s_answer_means(
    answer: StubResponse | Exception, reason: ArchiveError
) -> None:
    assert await refused(VIDEO, answer) is reason


def redirect(location: str) -> StubResponse:
    return StubResponse(302, {"location": location})


async def test_a_redirect_is_followed_to_an_allowed_host() -> None:
    _, content, session = await fetch(
        VIDEO, redirect("/2/output.mp4"), redirect("https://cdn.runcomfy.com/3"), StubResponse()
    )
    assert content == b"abcd"
    assert [url for url, _ in session.sent[1:]] == [
        "https://203.0.113.9/2/output.mp4",
        "https://203.0.113.9/3",
    ]


@pytest.mark.parametrize(
    "location", ["https://elsewhere.example/1", "https://private.runcomfy.net/1", "//[::1/x"]
)
async def test_a_redirect_that_leaves_them_is_refused(location: str) -> None:
    assert await refused(VIDEO, redirect(location)) is ArchiveError.HOST


async def test_redirects_are_bounded() -> None:
    endless = [redirect("/again") for _ in range(9)]
    assert await refused(VIDEO, *endless) is ArchiveError.UNREACHABLE
