"""Tests of model ids."""

import pytest

from core.models.ids import build_model_path, is_model_id


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", "a"),
        ("kling/kling-3.0/standard/image-to-video", "kling/kling-3.0/standard/image-to-video"),
        ("A_b-c.9/...", "A_b-c.9/..."),
        ("a" * 256, "a" * 256),
        ("minimax/Hailuo Video 01 Live", "minimax/Hailuo%20Video%2001%20Live"),
        ("kling/kling-video-o3/4K/x", "kling/kling-video-o3/4K/x"),
        ("a+b", "a%2Bb"),
        ("a?b#c", "a%3Fb%23c"),
        ("a%2fb", "a%252fb"),
        ("a\\b", "a%5Cb"),
        ("é", "%C3%A9"),
    ],
)
def test_what_runcomfy_may_list_is_an_id_with_a_path_of_its_own(text: str, path: str) -> None:
    assert is_model_id(text)
    assert build_model_path(text) == f"/v1/models/{path}"


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a/../../requests"),
        *("a" * 257, "a\n", "a\tb", "a\x00", "a\x7f", "a\u2028b", "a\ud800"),
    ],
)
def test_what_would_lead_to_another_path_or_does_not_print_is_no_id(text: str) -> None:
    assert not is_model_id(text)
    assert build_model_path(text) is None
