import ssl

import aiohttp
import httpx
import pytest

from core.observability.outcomes import FaultKind
from worker.upstream import error_classification as errors
from worker.upstream.error_classification import BillingEffect, Classification


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
    assert exception in errors.CLASSIFICATIONS_BY_EXCEPTION


def test_the_walk_finds_what_it_should() -> None:
    assert {httpx.ConnectError, httpx.ReadError, httpx.StreamClosed} <= HTTPX_EXCEPTIONS
    assert len(HTTPX_EXCEPTIONS) >= 25


def test_only_what_surely_did_not_leave_is_not_sent() -> None:
    not_sent = {
        key
        for key, row in errors.CLASSIFICATIONS_BY_EXCEPTION.items()
        if row.billing_effect is BillingEffect.NOT_SENT
    }

    assert not_sent == {
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.UnsupportedProtocol,
        httpx.InvalidURL,
        httpx.LocalProtocolError,
        errors.TunnelFailed,
        errors.UnsafeMethod,
    }


def test_no_exception_is_ever_a_refusal() -> None:
    assert {row.billing_effect for row in errors.CLASSIFICATIONS_BY_EXCEPTION.values()} == {
        BillingEffect.NOT_SENT,
        BillingEffect.INDETERMINATE,
    }


@pytest.mark.parametrize("error", [ValueError("x"), OSError("x"), ssl.SSLError("x"), KeyError("x")])
def test_a_foreign_exception_leaves_the_outcome_unknown(error: Exception) -> None:
    assert errors.classify_exception(error) == Classification(
        BillingEffect.INDETERMINATE, FaultKind.UNKNOWN
    )


def test_a_subclass_nobody_has_read_is_not_trusted() -> None:
    class NewConnectError(httpx.ConnectError):
        pass

    assert (
        errors.classify_exception(NewConnectError("x")).billing_effect
        is BillingEffect.INDETERMINATE
    )


@pytest.mark.parametrize(
    ("status", "money", "kind"),
    [
        (400, BillingEffect.REJECTED, FaultKind.HTTP_4XX),
        (401, BillingEffect.REJECTED, FaultKind.ACCOUNT_REJECTED),
        (402, BillingEffect.REJECTED, FaultKind.BALANCE_REJECTED),
        (403, BillingEffect.REJECTED, FaultKind.MODEL_REJECTED),
        (404, BillingEffect.REJECTED, FaultKind.HTTP_4XX),
        (413, BillingEffect.REJECTED, FaultKind.HTTP_4XX),
        (422, BillingEffect.REJECTED, FaultKind.HTTP_4XX),
        (425, BillingEffect.NOT_SENT, FaultKind.HTTP_4XX),
        (429, BillingEffect.NOT_SENT, FaultKind.HTTP_429),
        (408, BillingEffect.INDETERMINATE, FaultKind.HTTP_4XX),
        (409, BillingEffect.INDETERMINATE, FaultKind.HTTP_4XX),
        (499, BillingEffect.INDETERMINATE, FaultKind.HTTP_4XX),
        (301, BillingEffect.INDETERMINATE, FaultKind.REDIRECT),
        (307, BillingEffect.INDETERMINATE, FaultKind.REDIRECT),
        (500, BillingEffect.INDETERMINATE, FaultKind.HTTP_5XX),
        (502, BillingEffect.INDETERMINATE, FaultKind.HTTP_5XX),
        (503, BillingEffect.INDETERMINATE, FaultKind.HTTP_5XX),
        (524, BillingEffect.INDETERMINATE, FaultKind.HTTP_5XX),
        (101, BillingEffect.INDETERMINATE, FaultKind.HTTP_UNEXPECTED),
        (999, BillingEffect.INDETERMINATE, FaultKind.HTTP_UNEXPECTED),
    ],
)
def test_a_status_says_about_money(status: int, money: BillingEffect, kind: FaultKind) -> None:
    found = errors.classify_status(status, has_retry_after=False)
    assert (found.billing_effect, found.kind) == (money, kind)


def test_a_status_without_a_row_leaves_the_outcome_unknown() -> None:
    without = set(range(100, 600)) - set(errors.CLASSIFICATIONS_BY_STATUS)

    verdicts = {
        errors.classify_status(status, has_retry_after=False).billing_effect for status in without
    }

    assert verdicts == {BillingEffect.INDETERMINATE}


def test_only_503_is_softened_by_retry_after() -> None:
    softened = {
        status
        for status in range(100, 600)
        if errors.classify_status(status, has_retry_after=True)
        != errors.classify_status(status, has_retry_after=False)
    }

    assert softened == {503}
    assert (
        errors.classify_status(503, has_retry_after=True).billing_effect is BillingEffect.NOT_SENT
    )


@pytest.mark.parametrize(
    ("code", "money"),
    [
        ("400001", BillingEffect.REJECTED),
        ("400002", BillingEffect.REJECTED),
        ("400004", BillingEffect.REJECTED),
        ("401001", BillingEffect.REJECTED),
        ("403001", BillingEffect.REJECTED),
        ("404001", BillingEffect.REJECTED),
        ("422001", BillingEffect.REJECTED),
        ("429001", BillingEffect.NOT_SENT),
        ("408001", BillingEffect.INDETERMINATE),
        ("409001", BillingEffect.INDETERMINATE),
        ("500001", BillingEffect.INDETERMINATE),
        ("503001", BillingEffect.INDETERMINATE),
        ("200000", BillingEffect.INDETERMINATE),
        ("4220010", BillingEffect.INDETERMINATE),
        ("400", BillingEffect.INDETERMINATE),
        ("-40000", BillingEffect.INDETERMINATE),
        ("٤٢٢٠٠١", BillingEffect.INDETERMINATE),
        ("INVALID", BillingEffect.INDETERMINATE),
        ("", BillingEffect.INDETERMINATE),
    ],
)
def test_a_code_says_about_money(code: str, money: BillingEffect) -> None:
    assert errors.classify_code(code).billing_effect is money


def test_kinds_are_label_words_and_rows_use_no_others() -> None:
    rows = {
        *errors.CLASSIFICATIONS_BY_EXCEPTION.values(),
        *errors.CLASSIFICATIONS_BY_STATUS.values(),
    }

    assert all(kind.replace("_", "").isalnum() and kind.islower() for kind in FaultKind)
    assert {row.kind.value for row in rows} <= {*FaultKind}


def _misreported(cause: Exception) -> httpx.ConnectTimeout:
    error = httpx.ConnectTimeout("")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ReadTimeout("x"), FaultKind.READ_TIMEOUT),
        (httpx.ConnectTimeout("x"), FaultKind.CONNECT_TIMEOUT),
        (TimeoutError(), FaultKind.DEADLINE),
        (_misreported(aiohttp.ServerDisconnectedError()), FaultKind.RESET),
        (_misreported(aiohttp.ClientOSError()), FaultKind.RESET),
        (_misreported(aiohttp.ConnectionTimeoutError()), FaultKind.CONNECT_TIMEOUT),
        (_misreported(aiohttp.SocketTimeoutError()), FaultKind.READ_TIMEOUT),
        (aiohttp.ClientPayloadError(), FaultKind.PROTOCOL_ERROR),
        (RuntimeError("x"), FaultKind.UNKNOWN),
    ],
)
def test_a_word_names_what_happened_whatever_the_transport_calls_it(
    error: Exception, kind: FaultKind
) -> None:
    assert errors.fault_kind_of(error) is kind
