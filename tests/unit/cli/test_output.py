"""What commands print beside their tables."""

import pytest

from cli.output import print_next_page


@pytest.mark.parametrize(("cursor", "line"), [("req_1", "next page: --cursor req_1\n"), (None, "")])
def test_the_option_of_the_next_page_is_beside_the_table(
    capsys: pytest.CaptureFixture[str], cursor: str | None, line: str
) -> None:
    print_next_page(cursor)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", line)
