"""Labels: their characters, their order, and how two sets are merged."""

import pytest

from core.labels import is_label_key, is_label_value, labels_from, labels_to_dict, merge_labels


@pytest.mark.parametrize("key", ["a", "team", "cost-center", "app.kubernetes.io_name", "t" * 63])
def test_a_key(key: str) -> None:
    assert is_label_key(key)


@pytest.mark.parametrize("key", ["", "Team", "1a", "-a", "a b", "a=b", "a:b", "é", "a\n", "t" * 64])
def test_no_key(key: str) -> None:
    assert not is_label_key(key)


@pytest.mark.parametrize("value", ["7", "growth", "ada@example.com", "team/a:b+c", "v" * 64])
def test_a_value(value: str) -> None:
    assert is_label_value(value)


@pytest.mark.parametrize("value", ["", "a b", "a,b", "a=b", '"', "-a", "é", "a\n", "v" * 65])
def test_no_value(value: str) -> None:
    assert not is_label_value(value)


def test_labels_are_in_the_order_of_their_keys() -> None:
    labels = labels_from({"team": "growth", "project": "x"})
    assert labels == ("project=x", "team=growth")
    assert labels_to_dict(labels) == {"project": "x", "team": "growth"}


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        ((), (), ()),
        (("a=1",), (), ("a=1",)),
        ((), ("a=1",), ("a=1",)),
        (("b=1", "c=2"), ("a=3", "b=9"), ("a=3", "b=9", "c=2")),
    ],
)
def test_of_two_values_of_a_key_the_second_counts(
    first: tuple[str, ...], second: tuple[str, ...], merged: tuple[str, ...]
) -> None:
    assert merge_labels(first, second) == merged
