"""Labels of a query, of a header and of JSON."""

import pytest

from core.errors import MalformedRequest
from core.labels import MAX_LABELS
from service.parsing.fields import InvalidField
from service.parsing.labels import (
    parse_label_headers,
    parse_label_object,
    parse_label_option,
    with_header_labels,
)

TOO_MANY = [f"k{number}" for number in range(MAX_LABELS + 1)]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("team:growth", ("team=growth",)),
        ("team:growth,app:web", ("app=web", "team=growth")),
        ("link:a:b/c", ("link=a:b/c",)),
        ("team:growth,team:growth", ("team=growth",)),
    ],
)
def test_an_option(text: str, labels: tuple[str, ...]) -> None:
    assert parse_label_option(text) == labels


@pytest.mark.parametrize(
    "text",
    [
        "",
        "team",
        "team:",
        ":growth",
        "Team:growth",
        "team:a b",
        "team:a,",
        "team:a,team:b",
        ",".join(f"{key}:v" for key in TOO_MANY),
    ],
)
def test_a_wrong_option(text: str) -> None:
    with pytest.raises(InvalidField):
        parse_label_option(text)


@pytest.mark.parametrize(
    "value", [None, "team:growth", ["team"], {"team": 7}, {"team": ""}, {"a:b,c": "d"}, {"": "x"}]
)
def test_a_wrong_object(value: object) -> None:
    with pytest.raises(InvalidField):
        parse_label_object(value)


def test_an_object() -> None:
    assert parse_label_object({"team": "growth", "app": "web"}) == ("app=web", "team=growth")
    assert parse_label_object({}) == ()


@pytest.mark.parametrize(
    ("headers", "labels"),
    [
        ([], ()),
        (["team=growth"], ("team=growth",)),
        (['team="growth" ,\tapp=web'], ("app=web", "team=growth")),
        (["team=growth", "app=web"], ("app=web", "team=growth")),
        ([""], ()),
    ],
)
def test_headers(headers: list[str], labels: tuple[str, ...]) -> None:
    assert parse_label_headers(headers) == labels


@pytest.mark.parametrize("header", ["team", "team:growth", 'team="', "team=a b", "team=a, team=b"])
def test_a_wrong_header(header: str) -> None:
    with pytest.raises(MalformedRequest, match="Gateway-Labels"):
        parse_label_headers([header])


def test_a_label_of_the_call_itself_comes_before_one_of_its_header() -> None:
    assert with_header_labels(("team=a",), ["team=b, app=web"]) == ("app=web", "team=a")


def test_header_and_call_together_have_a_bounded_number() -> None:
    own = tuple(f"k{number:02}=v" for number in range(MAX_LABELS))
    assert with_header_labels(own, ["k03=w"]) == own
    with pytest.raises(MalformedRequest, match="16 labels at most"):
        with_header_labels(own, ["more=w"])
