"""The settings of a process as they are in effect, with the source of each and without secrets."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic_settings import BaseSettings, SettingsError

from core.settings.sources import SourcedText, Variable, format_default, read_texts, variables_of

DEFAULT_SOURCE: Final = "default"
MASK: Final = "***"
_PASSWORD: Final = re.compile(r"(?<=://)[^@/\s]*@")
_PLAIN_URL: Final = re.compile(r"[a-z]+://([^@/?#\s]*@)?[\w.\-\[\]:]+(/\d*)?", re.ASCII)
"""A URL whose only secret can be its user and password."""


def effective_settings(kind: type[BaseSettings]) -> Sequence[Mapping[str, str]]:
    """Return each setting's name, value and source. Values are as written, right or wrong."""
    try:
        texts = read_texts(kind)
    except SettingsError:  # reported as an issue of the process
        texts = {}
    return [_row(variable, texts) for variable in variables_of(kind)]


def _row(variable: Variable, texts: Mapping[str, SourcedText]) -> Mapping[str, str]:
    found = next((texts[name] for name in variable.names if name in texts), None)
    if found is None:
        required = variable.field.is_required()
        value = "" if required else format_default(variable.field.default)
        return {"setting": variable.name, "value": value, "source": DEFAULT_SOURCE}
    value = mask(found.text, is_secret=variable.is_secret)
    return {"setting": variable.name, "value": value, "source": found.source}


def mask(text: str, *, is_secret: bool) -> str:
    """Return a setting's text without secrets: of a URL, the rest is shown."""
    if is_secret and _PLAIN_URL.fullmatch(text) is None:
        return MASK
    return _PASSWORD.sub(f"{MASK}@", text)
