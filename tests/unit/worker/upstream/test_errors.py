from __future__ import annotations

import ssl

import aiohttp
import httpx
import pytest

from worker.upstream import error_classification as errors
from worker.upstream.error_classification import Kind, Money, Verdict


def _with_descendants(root: type[Exception]) -> set[type[Exception]]:
    return {root}.union(*(_with_descendants(child) for child in root.__subclasses__()))


HTTPX_EXCEPTIONS = {
    exception
    for root in (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, httpx.CookieConflict)
    for exception in _with_descendants(root)
    if exception.__module__.startswith("httpx") and "aiohttp" not in exception.__module__
}
PUBLIC_EXCEPTIONS = {
    value
    for value in vars(httpx).values()
    if isinstance(value, type) and issubclass(value, Exception)
}


@pytest.mark.parametrize("exception", sorted(HTTPX_EXCEPTIONS | PUBLIC_EXCEPTIONS, key=str))
def test_every_exception_of_httpx_has_a_row(exception: type[Exception]) -> None:
    assert exception in errors.EXCEPTIONS


def test_the_walk_finds_what_it_should() -> None:
    assert {httpx.ConnectError, httpx.ReadError, httpx.StreamClosed} <= HTTPX_EXCEPTIONS
    assert len(HTTPX_EXCEPTIONS) >= 25


def test_only_what_surely_did_not_leave_is_not_sent() -> None:
    not_sent = {key for key, row in errors.EXCEPTIONS.items() if row.money is Money.NOT_SENT}

    assert not_sent == {
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.UnsupportedProtocol,
        httpx.InvalidURL,
        httpx.LocalProtocolError,
        errors.WrongVerb,
    }


def test_no_exception_is_ever_a_refusal() -> None:
    assert {row.money for row in errors.EXCEPTIONS.values()} == {Money.NOT_SENT, Money.NO_ANSWER}


@pytest.mark.parametrize("error", [ValueError("x"), OSError("x"), ssl.SSLError("x"), KeyError("x")])
def test_a_foreign_exception_leaves_the_outcome_unknown(error: Exception) -> None:
    assert errors.of_exception(error) == Verdict(Money.NO_ANSWER, Kind.UNKNOWN)


def test_a_subclass_nobody_has_read_is_not_trusted() -> None:
    class NewConnectError(httpx.ConnectError):
        pass

    assert errors.of_exception(NewConnectError("x")).money is Money.NO_ANSWER


@pytest.mark.parametrize(
    ("status", "money", "kind"),
    [
        (400, Money.REJECTED, Kind.HTTP_4XX),
        (401, Money.REFUSED, Kind.REFUSED_ACCOUNT),
        (402, Money.REFUSED, Kind.REFUSED_ACCOUNT),
        (403, Money.REFUSED, Kind.REFUSED_ACCOUNT),
        (404, Money.REJECTED, Kind.HTTP_4XX),
        (413, Money.REJECTED, Kind.HTTP_4XX),
        (422, Money.REJECTED, Kind.HTTP_4XX),
        (425, Money.NOT_SENT, Kind.HTTP_4XX),
        (429, Money.NOT_SENT, Kind.HTTP_429),
        (408, Money.NO_ANSWER, Kind.HTTP_4XX),
        (409, Money.NO_ANSWER, Kind.HTTP_4XX),
        (499, Money.NO_ANSWER, Kind.HTTP_4XX),
        (301, Money.NO_ANSWER, Kind.REDIRECT),
        (307, Money.NO_ANSWER, Kind.REDIRECT),
        (500, Money.NO_ANSWER, Kind.HTTP_5XX),
        (502, Money.NO_ANSWER, Kind.HTTP_5XX),
        (503, Money.NO_ANSWER, Kind.HTTP_5XX),
        (524, Money.NO_ANSWER, Kind.HTTP_5XX),
        (101, Money.NO_ANSWER, Kind.HTTP_ODD),
        (999, Money.NO_ANSWER, Kind.HTTP_ODD),
    ],
)
def test_a_status_says_about_money(status: int, money: Money, kind: Kind) -> None:
    assert errors.of_status(status, retry_after_given=False) == Verdict(money, kind)


def test_a_status_without_a_row_leaves_the_outcome_unknown() -> None:
    without = set(range(100, 600)) - set(errors.STATUSES)

    verdicts = {errors.of_status(status, retry_after_given=False).money for status in without}

    assert verdicts == {Money.NO_ANSWER}


def test_only_503_is_softened_by_retry_after() -> None:
    softened = {
        status
        for status in range(100, 600)
        if errors.of_status(status, retry_after_given=True)
        != errors.of_status(status, retry_after_given=False)
    }

    assert softened == {503}
    assert errors.of_status(503, retry_after_given=True).money is Money.NOT_SENT


@pytest.mark.parametrize(
    ("code", "money"),
    [
        ("400001", Money.REJECTED),
        ("400002", Money.REFUSED),
        ("400004", Money.REFUSED),
        ("401001", Money.REFUSED),
        ("403001", Money.REFUSED),
        ("404001", Money.REJECTED),
        ("422001", Money.REJECTED),
        ("429001", Money.NOT_SENT),
        ("408001", Money.NO_ANSWER),
        ("409001", Money.NO_ANSWER),
        ("500001", Money.NO_ANSWER),
        ("503001", Money.NO_ANSWER),
        ("200000", Money.NO_ANSWER),
        ("4220010", Money.NO_ANSWER),
        ("400", Money.NO_ANSWER),
        ("-40000", Money.NO_ANSWER),
        ("٤٢٢٠٠١", Money.NO_ANSWER),
        ("INVALID", Money.NO_ANSWER),
        ("", Money.NO_ANSWER),
    ],
)
def test_a_code_says_about_money(code: str, money: Money) -> None:
    assert errors.of_code(code).money is money


def test_kinds_are_label_words_and_rows_use_no_others() -> None:
    rows = {*errors.EXCEPTIONS.values(), *errors.STATUSES.values()}

    assert all(kind.replace("_", "").isalnum() and kind.islower() for kind in errors.KINDS)
    assert {row.kind.value for row in rows} <= errors.KINDS


def _misreported(cause: Exception) -> httpx.ConnectTimeout:
    error = httpx.ConnectTimeout("")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ReadTimeout("x"), Kind.READ_TIMEOUT),
        (httpx.ConnectTimeout("x"), Kind.CONNECT_TIMEOUT),
        (TimeoutError(), Kind.DEADLINE),
        (_misreported(aiohttp.ServerDisconnectedError()), Kind.RESET),
        (_misreported(aiohttp.ClientOSError()), Kind.RESET),
        (_misreported(aiohttp.ConnectionTimeoutError()), Kind.CONNECT_TIMEOUT),
        (_misreported(aiohttp.SocketTimeoutError()), Kind.READ_TIMEOUT),
        (aiohttp.ClientPayloadError(), Kind.PROTOCOL_ERROR),
        (RuntimeError("x"), Kind.UNKNOWN),
    ],
)
def test_a_word_names_what_happened_whatever_the_transport_calls_it(
    error: Exception, kind: Kind
) -> None:
    assert errors.kind_of(error) is kind
