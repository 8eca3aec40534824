"""Makes text from outside fit to show: no token, no control characters, bounded. Knows no HTTP."""

from dataclasses import dataclass, field
from typing import Final

MESSAGE_LENGTH: Final = 500
WORD_LENGTH: Final = 64
REDACTED: Final = "[redacted]"
# Longer than what is kept, since control characters are dropped after this cut.
_LOOKED_AT: Final = 8 * MESSAGE_LENGTH


@dataclass(frozen=True, slots=True)
class Scrub:
    """Takes one token out of texts. Its repr does not show the token."""

    token: str = field(repr=False)

    def message(self, text: str) -> str:
        """`text` on one line, at most 500 characters."""
        return self._clean(text)[:MESSAGE_LENGTH]

    def word(self, text: str) -> str:
        """`text` as a word of the timeline, at most 64 characters."""
        return self._clean(text)[:WORD_LENGTH]

    def _clean(self, text: str) -> str:
        # Twice: before the cut, which could halve it, and after control characters that split it.
        shown = self._without_token(text)[:_LOOKED_AT]
        spaced = " ".join(shown.split())
        return self._without_token("".join(char for char in spaced if char.isprintable()))

    def _without_token(self, text: str) -> str:
        return text.replace(self.token, REDACTED)
