"""Turns the API's documents into pages: the template environment, its filters, the headers.

Every text is escaped. Pages load nothing but the console's own files and the media that they show,
and no other page may frame them.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final
from urllib.parse import quote, urlsplit

from jinja2 import ChainableUndefined, Environment, PackageLoader
from starlette.responses import HTMLResponse

from core.files.records import MEDIA_EXTENSIONS
from service.callers.api_calls import encode_query

NOTHING: Final = "\N{EN DASH}"
MEDIA_KINDS: Final[Mapping[str, str]] = {
    **{extension: kind.partition("/")[0] for kind, extension in MEDIA_EXTENSIONS.items()},
    # Outputs have these too.
    "jpeg": "image",
    "avif": "image",
}
"""`video`, `image` or `audio` by the end of a file's name."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:{media}; media-src 'self'{media}; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_ORIGIN_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-:[]")


@cache
def environment() -> Environment:
    """Return the template environment. A field that a document leaves out renders as nothing."""
    made = Environment(
        loader=PackageLoader("service.console"),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "usd": format_usd,
        "about_usd": format_about_usd,
        "when": format_time,
        "span": format_seconds,
        "size": format_bytes,
        "path_part": lambda text: quote(str(text), safe=""),
        "query": format_query,
        "words": lambda text: str(text).replace("_", " "),
        "media_kind": media_kind,
    }
    return made


def html_response(
    template: str,
    values: Mapping[str, Any],
    status: int = 200,
    media: Iterable[str] = (),
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """Return a page. `media` are the addresses of the pictures and videos that it shows."""
    page = environment().get_template(template).render(values)
    return HTMLResponse(page, status, {**(headers or {}), **page_headers(media)})


def page_headers(media: Iterable[str] = ()) -> dict[str, str]:
    """Return the headers of a page that shows these media."""
    origins = sorted({origin for url in media if (origin := media_origin(url))})
    policy = _POLICY.format(media="".join(f" {origin}" for origin in origins))
    return {
        "cache-control": "no-store",
        "content-security-policy": policy,
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
    }


def media_origin(url: str) -> str | None:
    """Return the origin of a web address as a policy names it; None for anything else."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2].lower()
    # A semicolon or a space would end the directive.
    if parts.scheme not in {"http", "https"} or not host or not set(host) <= _ORIGIN_CHARS:
        return None
    return f"{parts.scheme}://{host}"


def media_kind(url: object) -> str:
    """Return `video`, `image` or `audio` for the address of a media file; "" for any other text."""
    if not isinstance(url, str) or media_origin(url) is None:
        return ""
    suffix = urlsplit(url).path.rpartition(".")[2].lower()
    return MEDIA_KINDS.get(suffix, "")


def format_usd(amount: object) -> str:
    """Return an amount in USD, with as many digits as it needs and at least two."""
    if not isinstance(amount, (int, float)):
        return NOTHING
    whole, _, digits = f"{amount:,.6f}".partition(".")
    return f"${whole}.{digits[:2]}{digits[2:].rstrip('0')}"


def format_about_usd(amount: float) -> str:
    """Return an amount in USD to the cent; one of less than ten cents in full."""
    return f"${amount:,.2f}" if amount >= 0.1 else format_usd(amount)  # noqa: PLR2004 - see above


def format_time(text: object) -> str:
    """Return an instant of the API's documents to the second, in UTC."""
    if not isinstance(text, str):
        return NOTHING
    return text.replace("T", " ").partition(".")[0].removesuffix("Z").partition("+")[0]


def format_seconds(seconds: object) -> str:
    """Return a duration in its two largest units."""
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if not isinstance(seconds, (int, float)):
        return NOTHING
    if seconds < 10:  # noqa: PLR2004 - below it a fraction matters
        return f"{seconds:.1f} s"
    parts, rest = [], int(seconds)
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def format_bytes(count: object) -> str:
    """Return a size in the unit that fits."""
    if not isinstance(count, (int, float)):
        return NOTHING
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004 - the step between the units
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def format_query(fields: Mapping[str, Any]) -> str:
    """Return what a link has after its path: the query with its question mark, or nothing."""
    query = encode_query(fields)
    return f"?{query}" if query else ""


def parse_time(text: object) -> datetime | None:
    """Return an instant of the API's documents; None if there is none."""
    return datetime.fromisoformat(text) if isinstance(text, str) else None
