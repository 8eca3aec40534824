"""`Idempotency-Key` in the draft's form and in the forms that clients send."""

import re

import pytest

from core.errors import MalformedRequest
from service.http.idempotency_header import (
    MAX_KEY_LENGTH,
    digest_idempotency_key,
    parse_idempotency_key,
)

UUID = "8e03978e-40d5-43dd-bc93-6894a57f9324"


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (f'"{UUID}"', UUID),
        (UUID, UUID),
        (f' \t"{UUID}"\t ', UUID),
        (f"  {UUID}  ", UUID),
        ('"a"', "a"),
        ("a", "a"),
        ('"say \\"hi\\" \\\\ "', 'say "hi" \\ '),
        ('"two words"', "two words"),
        ('"a,b"', "a,b"),
        ("order:7/item;3=x", "order:7/item;3=x"),
        ("a\\b", "a\\b"),
        ('a"b', 'a"b'),
        ("'a'", "'a'"),
        ("a" * MAX_KEY_LENGTH, "a" * MAX_KEY_LENGTH),
        (f'"{"a" * MAX_KEY_LENGTH}"', "a" * MAX_KEY_LENGTH),
        ('"' + '\\"' * MAX_KEY_LENGTH + '"', '"' * MAX_KEY_LENGTH),
    ],
)
def test_a_key_is_read(header: str, key: str) -> None:
    assert parse_idempotency_key([header]) == key


def test_no_header_is_no_key() -> None:
    assert parse_idempotency_key([]) is None


@pytest.mark.parametrize(
    "parameters",
    [
        ";v=1",
        ";  v=-1.5",
        ";v",
        ';a="x;y";b=tok/en:1',
        ";sent=@1700000000",
        ";raw=:aGk=:",
        ";yes=?1",
        ';name=%"f%c3%bc"',
    ],
)
def test_parameters_mean_nothing(parameters: str) -> None:
    assert parse_idempotency_key([f'"{UUID}"{parameters}']) == UUID


@pytest.mark.parametrize(
    "headers",
    [
        [""],
        ["  "],
        ['""'],
        ['"  "'],
        ["a", "a"],
        ['"a"', '"b"'],
        ["a", ""],
        ["a, b"],
        ["a,b"],
        ['"a", "b"'],
        ["two words"],
        ['"open'],
        ['"'],
        ['"a\\"'],
        ['"a\\n"'],
        ['"a"b'],
        ['"a" ;v=1'],
        ['"a";'],
        ['"a";V=1'],
        ['"a";v='],
        ['"a\tb"'],
        ["a\tb"],
        ["a\nb"],
        ["a\x00b"],
        ['"a\x7fb"'],
        ["a\n"],
        ['"a"\n'],
        ["schl\xfcssel"],
        ['"schl\xfcssel"'],
        ["\uff11"],
        ["a" * (MAX_KEY_LENGTH + 1)],
        [f'"{"a" * (MAX_KEY_LENGTH + 1)}"'],
    ],
)
def test_what_is_no_key_is_refused(headers: list[str]) -> None:
    with pytest.raises(MalformedRequest, match="Idempotency-Key"):
        parse_idempotency_key(headers)


def test_a_digest_is_short_and_of_its_key_alone() -> None:
    digests = {digest_idempotency_key(text) for text in ("a", "A", "b", "a ", UUID)}
    assert len(digests) == 5
    assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in digests)
    assert digest_idempotency_key("a") == "ca978112ca1bbdcafac231b39a23dc4d"
