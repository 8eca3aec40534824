import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import MalformedRequest
from service.parsing.json_body import parse_object, reject_duplicate_keys

Pairs = list[tuple[str, Any]]

NAMES: Final = st.sampled_from(["a", "b", "", '"', '":', "a :", "\t:", "é"])
BLANKS: Final = st.sampled_from(["", " ", "\n", "\t", "\r", " \n"])
TREES: Final = st.recursive(
    st.none() | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.lists(st.tuples(NAMES, inner), max_size=3),
    max_leaves=5,
)
"""JSON in which an object is a list of pairs, so that a name can be there twice."""


def written(tree: object, blank: str) -> str:
    """The text of a tree, with `blank` before and after each colon."""
    if not isinstance(tree, list):
        return json.dumps(tree, ensure_ascii=False)
    if tree and all(isinstance(item, tuple) for item in tree):
        fields = [f"{json.dumps(n)}{blank}:{blank}{written(item, blank)}" for n, item in tree]
        return f"{{{','.join(fields)}}}"
    return f"[{','.join(written(item, blank) for item in tree)}]"


def names_twice(tree: object) -> bool:
    """Whether an object of a tree has a name twice."""
    if not isinstance(tree, list):
        return False
    is_object = bool(tree) and all(isinstance(item, tuple) for item in tree)
    names = [item[0] for item in tree] if is_object else []
    return len({*names}) < len(names) or any(
        names_twice(item[1] if is_object else item) for item in tree
    )


@given(st.lists(st.tuples(NAMES, TREES), min_size=1, max_size=4), BLANKS)
def test_a_name_is_found_twice_wherever_it_is(tree: Pairs, blank: str) -> None:
    body = written(tree, blank).encode()
    value = parse_object(body)
    if not names_twice(tree):
        reject_duplicate_keys(body, value)
        return
    with pytest.raises(MalformedRequest, match="twice"):
        reject_duplicate_keys(body, value)
