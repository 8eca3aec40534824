"""Puts what went wrong into words that are safe to show. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from worker.ports import UpstreamFault
from worker.upstream import json_parser as wire
from worker.upstream.error_classification import Kind, kind_of
from worker.upstream.http_request import Reply

# For replies that hold no words of their own, or none for people.
SENTENCES: Final[Mapping[Kind, str]] = {
    Kind.BAD_NAME: "no URL of RunComfy can hold this id",
    Kind.FAILED: "RunComfy says that the request failed, and not why",
    Kind.HTML: "an HTML page instead of JSON",
    Kind.ID_LESS: "an answer without a usable request id",
    Kind.MALFORMED: "JSON that lacks what this call documents",
    Kind.NOT_JSON: "an answer that is not JSON",
    Kind.NO_OUTPUT: "RunComfy completed the request without any output",
    Kind.REDIRECT: "a redirect, which is not followed since the token would go with it",
}


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


def fault_of(kind: Kind, reply: Reply, scrub: Scrub) -> UpstreamFault:
    """The fault of `kind` behind `reply`: RunComfy's words, else the exception's, else ours."""
    doc = wire.document(reply.body) or {}
    code = wire.error_code(doc)
    return UpstreamFault(
        kind=kind.value,
        message=scrub.message(wire.error_text(doc) or _own_words(kind, reply)),
        http_status=reply.status,
        code=None if code is None else scrub.word(code),
    )


def _own_words(kind: Kind, reply: Reply) -> str:
    if reply.broke is not None:
        name = type(reply.broke).__name__
        return f"{name}: {reply.broke}" if str(reply.broke) else name
    status = "" if reply.status is None else f" (HTTP {reply.status})"
    return SENTENCES.get(kind, f"no explanation came with it: {kind.value}") + status


def unreadable(reply: Reply) -> Kind:
    """The word for a reply in which no JSON object was found."""
    if reply.broke is not None:
        return kind_of(reply.broke)
    if wire.looks_like_html(reply.body, reply.content_type):
        return Kind.HTML
    return Kind.NOT_JSON if wire.anything(reply.body) is None else Kind.MALFORMED


MESSAGE_LENGTH: Final = 500


WORD_LENGTH: Final = 64


REDACTED: Final = "[redacted]"


# Longer than what is kept, since control characters are dropped after this cut.
_LOOKED_AT: Final = 8 * MESSAGE_LENGTH
