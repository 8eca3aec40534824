"""The pages name only metrics, settings, commands and files that exist."""

import re
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Final

import promql_parser
import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.setting_names import all_variables
from cli.settings_errors import settings_issue
from core.observability.metrics import METRICS
from core.settings.sources import FILE_SUFFIX, secret_file_names
from core.tenants.limits import Limits
from core.webhooks.delivery import WebhookEventType
from docs.generate import ROOT, groups
from service.jobs.submit_options import SUBMIT_OPTIONS
from service.settings import ServiceSettings
from worker.settings import WorkerSettings

PAGES: Final = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")} - {ROOT / "CHANGELOG.md"})
METRIC_NAMES: Final = {
    f"{metric.name}{suffix}"
    for metric in METRICS
    for suffix in (("", "_bucket", "_sum", "_count") if metric.buckets else ("",))
}
SECRET_FILES: Final = {name + FILE_SUFFIX for name in secret_file_names(all_variables().values())}
SETTINGS: Final = SECRET_FILES | {s.name for _, settings in groups() for s in settings}
FIELDS: Final = frozenset({"gateway_cache", "gateway_status"})
"""Fields of the API that look like metrics."""
PLACEHOLDERS: Final = frozenset({"GATEWAY_API_KEY", "GATEWAY_URL", "GATEWAY_ADMIN_URL"})
"""Variables of the examples' shells; the gateway reads none of them."""
PRODUCT_FILE: Final = re.compile(
    r"(?<![\w/.])((?:core|service|worker|cli|simulator|deploy|tests|docs)/[\w./-]+\.\w+)"
)


by_page: Final = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT)).replace("/", "-")
)


@by_page
def test_every_metric_that_a_page_names_exists(page: Path) -> None:
    names = re.findall(r"\b(gateway_[a-z_]+[a-z])\b(?!…)", page.read_text(encoding="utf-8"))
    assert set(names) - METRIC_NAMES - FIELDS == set()


@by_page
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    names = set(re.findall(r"\bGATEWAY_[A-Z_]+[A-Z]\b(?![_…])", page.read_text(encoding="utf-8")))
    assert names - SETTINGS - PLACEHOLDERS == set()


@by_page
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    names = set(PRODUCT_FILE.findall(page.read_text(encoding="utf-8")))
    assert {name for name in names if not (ROOT / name).exists()} == set()


@by_page
def test_every_section_that_a_page_links_to_exists(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s:]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    missing = [
        (name, anchor)
        for name, anchor in links
        if anchor not in anchors_of((page.parent / name).resolve() if name else page)
    ]
    assert missing == []


@cache
def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@by_page
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    code = "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])
    named = re.findall(r"^(?:\$ )?gateway ([a-z]+)(?: ([a-z][a-z-]*))?", code, re.MULTILINE)
    assert {words for words in named if not is_command(*words)} == set()


@cache
def is_command(first: str, second: str) -> bool:
    """Whether `gateway first second` is a command; `second` may be an argument of a command."""
    words = [first, second] if second else [first]
    return CliRunner().invoke(app, [*words, "--help"]).exit_code == 0


def test_the_page_on_webhooks_lists_every_event_type() -> None:
    page = (ROOT / "docs/webhooks.md").read_text(encoding="utf-8")
    assert [event for event in WebhookEventType if f"`{event}`" not in page] == []


def test_the_readme_lists_every_option_of_a_submit() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in SUBMIT_OPTIONS if f"`{name}`" not in page] == []


def test_the_readme_sets_what_a_worker_and_a_service_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever copies the commands of "Run it" has processes that start."""
    _, _, section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Run it")
    block = section.split("```")[1]
    for name, value in re.findall(r"(GATEWAY_\w+)=(\S+)", block):
        monkeypatch.setenv(name, value)
    assert [settings_issue(kind) for kind in (WorkerSettings, ServiceSettings)] == [None, None]


def test_the_page_on_batches_lists_every_option_of_an_item() -> None:
    page = (ROOT / "docs/batches.md").read_text(encoding="utf-8")
    options = [name for name, option in SUBMIT_OPTIONS.items() if option.for_items]
    assert [name for name in options if f"`{name}`" not in page] == []


def test_the_page_on_tenants_lists_every_limit() -> None:
    page = (ROOT / "docs/tenants.md").read_text(encoding="utf-8")
    assert [limit.name for limit in fields(Limits) if f"`{limit.name}`" not in page] == []


@pytest.mark.parametrize("root", ["core", "service", "worker"])
def test_the_page_on_architecture_lists_every_package(root: str) -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    packages = sorted(path.parent.name for path in (ROOT / root).glob("*/__init__.py"))
    assert [name for name in packages if f"(../{root}/{name}/__init__.py)" not in page] == []


@pytest.mark.parametrize("folder", ["docs", "docs/adr"])
def test_the_index_of_a_folder_lists_every_page(folder: str) -> None:
    index = (ROOT / folder / "README.md").read_text(encoding="utf-8")
    pages = sorted(path.name for path in (ROOT / folder).glob("*.md") if path.stem != "README")
    assert [name for name in pages if f"({name})" not in index] == []


def test_the_queries_of_the_metrics_page_are_promql() -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    queries = re.findall(r"\| `((?:sum|max|min|histogram_quantile)[^`]*\(.*?)` \|", page)
    assert len(queries) >= 15
    for query in queries:
        promql_parser.parse(query)
