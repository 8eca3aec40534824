"""Signed links open one object until they expire, and nothing else."""

from dataclasses import replace
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest

from core.objects.links import LinkSignature, signed_path
from tests.support.records import NOW

SECRET: Final = b"s" * 32
PATH: Final = "/v1/files/file_1/content"
LATER: Final = NOW + timedelta(hours=1)


def signature_of(link: str) -> LinkSignature:
    query = parse_qs(urlsplit(link).query)
    return LinkSignature(int(query["expires"][0]), query["signature"][0])


def test_a_link_is_valid_until_it_expires() -> None:
    link = signed_path(SECRET, PATH, LATER)
    assert link.startswith(f"{PATH}?expires=")
    signature = signature_of(link)
    assert signature.is_valid(SECRET, PATH, NOW)
    assert signature.is_valid(SECRET, PATH, LATER - timedelta(seconds=1))
    assert not signature.is_valid(SECRET, PATH, LATER)


@pytest.mark.parametrize(
    ("secret", "path"), [(b"t" * 32, PATH), (SECRET, "/v1/files/file_2/content"), (SECRET, "")]
)
def test_a_link_fits_no_other_object(secret: bytes, path: str) -> None:
    assert not signature_of(signed_path(SECRET, PATH, LATER)).is_valid(secret, path, NOW)


def test_a_link_cannot_be_changed() -> None:
    signature = signature_of(signed_path(SECRET, PATH, LATER))
    later = replace(signature, expires=signature.expires + 1)
    assert not later.is_valid(SECRET, PATH, NOW)
    for text in ("", "x", signature.signature[:-1], signature.signature + "=", "é"):
        assert not replace(signature, signature=text).is_valid(SECRET, PATH, NOW)
