"""Keys and secrets: new ones can be parsed, and typos are found without the store."""

import base64
import hashlib

import pytest

from core.tenants.api_keys import api_key_digest, build_api_key
from tests.support.api_keys import is_refused

KEY = build_api_key("video-team", bytes(range(32)))


def test_the_form_of_a_key_is_known_outside_and_stays() -> None:
    body = base64.b32encode(bytes(range(32))).decode().rstrip("=")
    assert KEY.startswith(f"rcg_video-team_{body}")
    assert len(KEY) == len("rcg_video-team_") + 52 + 8
    assert api_key_digest(KEY) == hashlib.sha256(KEY.encode()).hexdigest()


def test_the_digest_does_not_hold_the_secret() -> None:
    secret = KEY.removeprefix("rcg_video-team_")
    assert secret not in api_key_digest(KEY)
    assert api_key_digest(KEY) != api_key_digest(KEY[:-1] + ("0" if KEY[-1] != "0" else "1"))


@pytest.mark.parametrize("position", range(len(KEY)))
def test_one_wrong_character_is_a_typo_wherever_it_is(position: int) -> None:
    for other in "aA2_-0z":
        typo = KEY[:position] + other + KEY[position + 1 :]
        assert typo == KEY or is_refused(typo)


@pytest.mark.parametrize("position", range(len(KEY) - 1))
def test_swapped_neighbours_are_a_typo(position: int) -> None:
    swapped = KEY[:position] + KEY[position + 1] + KEY[position] + KEY[position + 2 :]
    assert swapped == KEY or is_refused(swapped)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "rcg_",
        "Bearer " + KEY,
        KEY + " ",
        KEY + "\n",
        KEY[:-1],
        KEY + "0",
        KEY.upper(),
        KEY.lower(),
        KEY.replace("video-team", "other-team"),
        KEY.replace("rcg_", "rck_"),
        KEY.replace("a", "\u0430"),
        "rcg_" + "a" * 10_000,
        "\x00",
    ],
    ids=ascii,
)
def test_what_is_no_key_of_ours_is_refused(key: str) -> None:
    assert is_refused(key)
