"""What a handled error no longer holds; when nothing is collected."""

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from core.runtime.garbage_collection import drop_frames, without_collection


class Body:
    """Something large that a frame holds."""


@pytest.fixture(autouse=True)
def without_collections() -> Iterator[None]:
    """Only the number of references ends an object here."""
    gc.disable()
    yield
    gc.enable()


def raise_from_a_variable(_: Body) -> None:
    refusal = ValueError("refused")
    raise refusal


def raise_with_a_cause(body: Body) -> None:
    try:
        raise_from_a_variable(body)
    except ValueError as error:
        raise RuntimeError from error


def raise_with_another_cause(body: Body) -> None:
    try:
        raise_from_a_variable(body)
    except ValueError:
        raise RuntimeError from KeyError("not what it was raised in")


def raise_from_itself(_: Body) -> None:
    refusal = ValueError("refused")
    raise refusal from refusal


def raise_in_a_group(body: Body) -> None:
    try:
        raise_from_a_variable(body)
    except ValueError as error:
        raise ExceptionGroup("of a task group", [error]) from None


RAISING: Final = (
    raise_from_a_variable,
    raise_with_a_cause,
    raise_with_another_cause,
    raise_from_itself,
    raise_in_a_group,
)


@pytest.mark.parametrize("fail", RAISING)
def test_what_an_error_that_was_raised_from_a_variable_held_is_free(
    fail: Callable[[Body], None],
) -> None:
    body = Body()
    alive = weakref.ref(body)
    try:
        fail(body)
    except Exception as error:  # noqa: BLE001 - each kind of them
        drop_frames(error)
    del body
    assert alive() is None


def test_collections_go_on_after_the_body() -> None:
    gc.enable()
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
