"""Which outputs are kept: the mode of a request, the addresses in an output, their replacement."""

import orjson
import pytest

from core.archive import (
    MAX_OUTPUTS,
    ArchivedOutput,
    ArchiveError,
    ArchiveMode,
    ArchiveRules,
    find_outputs,
    replace_addresses,
)

M = ArchiveMode


@pytest.mark.parametrize(
    ("default", "tenant", "models", "mode"),
    [
        (M.OFF, None, {}, M.OFF),
        (M.AFTER, None, {}, M.AFTER),
        (M.AFTER, M.OFF, {}, M.OFF),
        (M.OFF, M.BEFORE, {}, M.BEFORE),
        (M.OFF, M.BEFORE, {"flux/*": M.OFF}, M.BEFORE),
        (M.OFF, M.BEFORE, {"kling/*": M.AFTER}, M.AFTER),
        (M.OFF, M.AFTER, {"kling/x": M.OFF, "kling/*": M.BEFORE}, M.OFF),
    ],
)
def test_the_mode_is_the_model_s_then_the_tenant_s_then_the_operator_s(
    default: ArchiveMode,
    tenant: ArchiveMode | None,
    models: dict[str, ArchiveMode],
    mode: ArchiveMode,
) -> None:
    rules = ArchiveRules(default, tuple(models.items()))
    assert rules.mode_for(tenant, "kling/x") is mode


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (b'{"video": "https://a/x.mp4"}', [("video", "https://a/x.mp4")]),
        (
            b'{"images": ["https://a/1", "https://a/2"], "seed": 7}',
            [("images[0]", "https://a/1"), ("images[1]", "https://a/2")],
        ),
        (b'{"a": {"b": [{"url": "http://a/1"}]}}', [("a.b[0].url", "http://a/1")]),
        (b'{"video": "https://a/1", "same": "https://a/1"}', [("video", "https://a/1")]),
        (b'{"text": "see https://a/1", "ftp": "ftp://a/1", "number": NaN}', []),
        (b"no JSON", []),
        (b"[" * 100_000, []),
        (b'{"a":' * 40 + b'"https://a/1"' + b"}" * 40, []),
    ],
)
def test_every_address_in_an_output_is_one(output: bytes, found: list[tuple[str, str]]) -> None:
    assert [(each.field, each.source_url) for each in find_outputs(output)] == found


def test_the_number_of_outputs_is_bounded() -> None:
    many = orjson.dumps({"images": [f"https://a/{number}" for number in range(1000)]})
    assert len(find_outputs(many)) == MAX_OUTPUTS


@pytest.mark.parametrize(
    ("output", "after"),
    [
        (b'{ "video" : "https:\\/\\/a/1", "n": 1.50 }', b'{ "video" : "new", "n": 1.50 }'),
        (b'["https://a/1","https://a/12"]', b'["new","https://a/12"]'),
        (b'{"t":"x \\" https://a/1","n":12345678901234567890}', None),
    ],
)
def test_only_addresses_are_replaced_and_all_else_stays(output: bytes, after: bytes | None) -> None:
    assert replace_addresses(output, {"https://a/1": "new"}) == (after or output)


def test_an_output_is_settled_once_nothing_can_change_it() -> None:
    plain = ArchivedOutput("video", "https://a/1")
    assert not plain.is_settled
    assert ArchivedOutput("video", "https://a/1", file_id="file_1").is_settled
    settled = [e for e in ArchiveError if ArchivedOutput("v", "https://a", error=e).is_settled]
    assert set(ArchiveError) - set(settled) == {
        ArchiveError.MISMATCH,
        ArchiveError.UNREACHABLE,
        ArchiveError.STORAGE,
        ArchiveError.LIMIT,
    }
