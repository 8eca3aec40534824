"""The commands of a runbook: what is between backquotes on its page and can be run."""

import re
from pathlib import Path
from typing import Final

RUNBOOKS: Final = Path(__file__).parents[2] / "docs" / "runbooks"
_SPAN: Final = re.compile(r"`([^`]+)`")
_SECTION: Final = re.compile(r"^## (Check|Fix)$", re.MULTILINE)
_COMMANDS: Final = ("gateway ", "redis-cli ", "curl ", "df", "timedatectl", "chronyc ")
_QUERY: Final = re.compile(
    r"^(sum|max|min|rate|histogram_quantile)\b.*\(|^(gateway|process)_[a-z_]+(\{.*\})?$|^up\{"
)


def commands_of(text: str) -> list[str]:
    """Return the commands and the queries of a page's steps, each once, in their order."""
    begin = _SECTION.search(text)
    spans = _SPAN.findall(text[begin.start() :] if begin else "")
    found = (" ".join(span.split()) for span in spans)
    return list(dict.fromkeys(span for span in found if is_command(span) or is_query(span)))


def is_command(span: str) -> bool:
    """Return whether it is run in a shell."""
    return span.startswith(_COMMANDS)


def is_query(span: str) -> bool:
    """Return whether Prometheus answers it: an expression, or the name of a metric."""
    return _QUERY.match(span) is not None


def read_page(name: str) -> str:
    """Return the text of a runbook, by its name without `.md`."""
    return (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
