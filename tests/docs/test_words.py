"""Names and prose use the field's terms: a list of banned words, each with the term to use."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "cli",
    "core",
    "deploy",
    "docs",
    "examples",
    "service",
    "simulator",
    "worker",
)
"""Folders and files that are checked: Python, Lua, Markdown and YAML."""
SUFFIXES: Final = frozenset({".py", ".lua", ".md", ".yml", ".yaml"})

# A part of a name (`part_of_a_name`, `PartOfAName`) -> the term to use.
BANNED_IN_NAMES: Final[Mapping[str, str]] = {
    "asked": "requested",
    "asking": "request",
    "bell": "wake",
    "book": "registry, store",
    "callback": "webhook, delivery",
    "chore": "task",
    "courier": "delivery worker",
    "crew": "process manager",
    "desk": "context",
    "doorbell": "wake",
    "doors": "router",
    "errand": "follow-up, action",
    "face": "API, service",
    "fate": "outcome",
    "figures": "metrics",
    "heard": "notified",
    "heir": "successor",
    "looked": "polled, read",
    "looking": "polling",
    "mailroom": "webhook service",
    "mend": "repair",
    "mended": "repaired",
    "owed": "due, pending",
    "purse": "balance",
    "said": "reported",
    "say": "report, render",
    "says": "report",
    "seat": "slot",
    "shelf": "cache",
    "silence": "timeout",
    "silent": "disabled, quiet",
    "standing": "state, settlement",
    "tell": "emit, notify",
    "telling": "events",
    "tells": "emit, notify",
    "told": "emitted, notified",
    "trouble": "warning, error",
    "troubles": "warnings, errors",
    "twin": "fake, duplicate",
    "twins": "duplicates",
    "usual": "default",
    "verdict": "result, classification",
    "wallet": "account balance",
    "whose": "owner",
    "wish": "options",
}

# A word or phrase in docstrings, comments, texts and pages -> what to write.
BANNED_IN_PROSE: Final[Mapping[str, str]] = {
    r"anew": "again",
    r"as it stands": "unchanged, as it is",
    r"asked|asks|asking": "requested, reads, polls",
    r"at once": "immediately, concurrently",
    r"by and by": "gradually",
    r"callbacks?": "webhook, delivery",
    r"comes? to": "is, amounts to",
    r"couriers?": "delivery worker",
    r"crew": "process manager",
    r"doorbell|bell": "wake-up message",
    r"errands?": "follow-up, action",
    r"fares?": "is handled",
    r"fates?": "outcome",
    r"goes by|go by": "depends on",
    r"hears?|heard": "is notified, receives",
    r"heirs?": "successor",
    r"in hand|hands(?! over)": "in progress, workers",
    r"is the affair of": "is the job of",
    r"is to be (?:looked|told|kept)": "active voice",
    r"(?:looks?|looked|looking)(?! up)": "reads, polls, checks",
    r"mailroom": "webhook service",
    r"mend(?:s|ed|ing)?": "repair, fix",
    r"nobody": "no operator, no process",
    r"owed": "due, pending",
    r"ours|theirs": "the noun itself",
    r"said": "reported, returned",
    r"says?": "reports, returns, states",
    r"seats?": "slot",
    r"shelf|shelves": "cache",
    r"silent(?:ly)?": "without an error, disabled",
    r"somebody": "an operator, a caller",
    r"(?:stands?|stood|standing)(?! for)": "is, is stored",
    r"tells?|telling|told": "reports, emits, notifies",
    r"troubles?": "error, warning, problem",
    r"twins?": "fake, duplicate",
    r"usual(?:ly)?": "default, normally",
    r"verdicts?": "result, classification",
    r"wallet|purse": "account balance",
    r"whoever": "the caller, the process that",
    r"wish(?:es)?": "request, option",
}

ALLOWED: Final[Mapping[tuple[str, str], str]] = {
    ("deploy/ci/smoke.py", "comes to"): "part of the example's prompt: comes to life",
    ("service/api/usage.py", "owed"): "a field of the callers' API",
}
_WORDS: Final = "|".join(BANNED_IN_PROSE).replace(" ", r"\s+")
_PROSE: Final = re.compile(rf"(?<![\w.-])(?:{_WORDS})(?![\w-])", re.IGNORECASE)
_CODE: Final = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)]*\)", re.DOTALL)
_NAME_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LUA_COMMENT: Final = re.compile(r"--.*")
_YAML_TEXT: Final = re.compile(r"#.*|(?:summary|description|title):.*")


class Finding(NamedTuple):
    """One banned word, and where it is."""

    path: str
    line: int
    word: str
    term: str


def findings() -> Iterator[Finding]:
    """Every banned word in the folders that are checked."""
    for path in files():
        where = str(path.relative_to(ROOT))
        for start, text in prose_of(path):
            for offset, word in banned_in(text):
                yield Finding(where, start + offset, word, prose_term(word))
        names = names_of(path) if path.suffix == ".py" else ()
        for line, name in names:
            for part in _NAME_PART.findall(name):
                if part.lower() in BANNED_IN_NAMES:
                    yield Finding(where, line, name, BANNED_IN_NAMES[part.lower()])


def files() -> Iterator[Path]:
    """The files that are checked."""
    for folder in FOLDERS:
        place = ROOT / folder
        for path in sorted(place.rglob("*")) if place.is_dir() else (place,):
            if path.suffix in SUFFIXES:
                yield path


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a file, with the line at which each begins."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from python_prose(source)
    elif path.suffix == ".md":
        yield 1, source
    else:
        pattern = _LUA_COMMENT if path.suffix == ".lua" else _YAML_TEXT
        for number, line in enumerate(source.splitlines(), start=1):
            yield from ((number, text) for text in pattern.findall(line))


def python_prose(source: str) -> Iterator[tuple[int, str]]:
    """The comments, and the strings that hold more than one word: docstrings, help, errors."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def banned_in(text: str) -> list[tuple[int, str]]:
    """The banned words of a text, with the lines before each; code and link targets are skipped."""
    prose = _CODE.sub(lambda code: "\n" * code[0].count("\n"), text)
    return [
        (prose.count("\n", 0, found.start()), " ".join(found[0].lower().split()))
        for found in _PROSE.finditer(prose)
    ]


def prose_term(word: str) -> str:
    """What to write for `word`."""
    return next(term for one, term in BANNED_IN_PROSE.items() if re.fullmatch(one, word))


def names_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every name that a file defines: classes, functions, arguments, variables, fields."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield node.lineno, name
            case ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


@cache
def report() -> tuple[Finding, ...]:
    """Every finding, once."""
    return tuple(findings())


def test_names_and_prose_use_the_terms_of_the_field() -> None:
    found = [one for one in report() if (one.path, one.word) not in ALLOWED]
    assert not found, "\n" + "\n".join(
        f"{one.path}:{one.line}: {one.word!r}: write {one.term}" for one in found
    )


def test_every_exception_is_still_needed() -> None:
    assert set(ALLOWED) <= {(one.path, one.word) for one in report()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What it is told, at\n    once.", [(0, "told"), (0, "at once")]),
        ("```\nsay\n```\nThe option `tell`\nis told.", [(4, "told")]),
        ("Long-standing, outlook, withstands; it stands for a look-up and is looked up.", []),
    ],
)
def test_words_are_found_in_prose_and_not_in_code(text: str, words: list[tuple[int, str]]) -> None:
    assert banned_in(text) == words
