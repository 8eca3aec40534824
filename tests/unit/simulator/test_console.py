import io

import pytest

from simulator.console import Console, supports_colour


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "expected"),
    [
        (FakeTerminal(), {}, True),
        (FakeTerminal(), {"NO_COLOR": ""}, True),
        (FakeTerminal(), {"NO_COLOR": "1"}, False),
        (FakeTerminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    stream: io.StringIO, environment: dict[str, str], *, expected: bool
) -> None:
    assert supports_colour(stream, environment) is expected


def test_steps_are_numbered_and_facts_stand_under_each_other() -> None:
    stream = io.StringIO()
    tell = Console(stream, colour=False, total_steps=2)
    tell.print_step("first")
    tell.print_table([("a", "x", "one"), ("bcd", "yyy", "two")])
    tell.print_step("second")
    assert stream.getvalue().splitlines() == [
        "",
        "[1/2] first",
        "      a    x    one",
        "      bcd  yyy  two",
        "",
        "[2/2] second",
    ]


def test_a_log_s_escape_sequences_do_not_reach_the_terminal() -> None:
    stream = io.StringIO()
    Console(stream, colour=False).print_failure("it broke", ["\x1b[2Jgone\x07"])
    assert "\x1b" not in stream.getvalue()
    assert "?[2Jgone?" in stream.getvalue()
