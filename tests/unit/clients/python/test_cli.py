"""`rcg` against a gateway that is a function: what it sends, prints and exits with."""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import typer
from runcomfy_gateway_client import Client, errors
from runcomfy_gateway_client.cli import files, jobs, models
from runcomfy_gateway_client.cli.commands import app
from runcomfy_gateway_client.cli.downloads import links_in
from runcomfy_gateway_client.cli.input_values import parse_value
from runcomfy_gateway_client.cli.session import EXIT_CODES, Connections, exit_code_of
from runcomfy_gateway_client.options import RequestFilters, SubmitOptions
from typer.testing import CliRunner, Result

ROOT: Final = Path(__file__).parents[4]
ID: Final = "019aac77-eeb8-7a3d-9c1e-5b7f20d4e681"
MODEL: Final = "kling/kling-3.0/standard/image-to-video"
VIDEO: Final = b"video"
LINK: Final = "https://media.example.com/a/clip.mp4"
ENDED: Final = {
    "request_id": ID,
    "status": "succeeded",
    "gateway_status": "completed",
    "model_id": MODEL,
    "output": {"video": LINK},
    "cost": 0.63,
    "billed": "yes",
}
KEPT: Final = {
    "archive": "kept",
    "outputs": [
        {
            "index": 0,
            "media_type": "video/mp4",
            "bytes": len(VIDEO),
            "sha256": hashlib.sha256(VIDEO).hexdigest(),
        }
    ],
}
Answer = Callable[[httpx.Request], httpx.Response]


class Gateway:
    """Answers by path, and keeps the requests; links of other hosts have `VIDEO`."""

    def __init__(self, result: Mapping[str, Any] = ENDED, /, **answers: Answer) -> None:
        """`answers`: by the last part of a path, in place of those below."""
        self.result = result
        self.answers = answers
        self.requests: list[httpx.Request] = []
        self.linked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer a call of the client."""
        self.requests.append(request)
        last = request.url.path.rpartition("/")[2]
        if last in self.answers:
            return self.answers[last](request)
        if "/outputs/" in request.url.path:
            return httpx.Response(200, content=VIDEO)
        if last in {"status", "result"}:
            return httpx.Response(200, json=self.result)
        if request.method == "POST" and request.url.path == f"/v1/models/{MODEL}":
            waiting = {"request_id": ID, "status": "in_queue", "gateway_status": "in_queue"}
            return httpx.Response(202, json=waiting)
        return httpx.Response(404, json={"code": "not_found"}, headers=PROBLEM)

    def link(self, request: httpx.Request) -> httpx.Response:
        """Serve a link of RunComfy."""
        self.linked.append(request)
        return httpx.Response(200, content=VIDEO)

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        """Run the command."""
        connections = Connections(
            lambda: Client(
                http=httpx.Client(
                    transport=httpx.MockTransport(self),
                    base_url="http://gateway.test",
                    headers={"authorization": "Bearer secret"},
                )
            ),
            lambda: httpx.Client(transport=httpx.MockTransport(self.link)),
        )
        return CliRunner().invoke(app, arguments, obj=connections, input=stdin)


PROBLEM: Final = {"content-type": "application/problem+json"}


def refuse(code: str, status: int = 400) -> Answer:
    """Answer with a problem document."""
    problem = {"code": code, "detail": "no", "retryable": False}
    return lambda _: httpx.Response(status, json=problem, headers=PROBLEM)


def test_a_submit_has_the_input_of_all_options(tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text('{"prompt": "Waves.", "duration": 10}')
    gateway = Gateway()
    result = gateway.run(
        *("job", "submit", MODEL, "--input", f"@{body}"),
        *("--set", "duration=5", "--set", "style=anime", "--set", 'seed="7"'),
        *("--max-cost", "2", "--label", "team:growth", "--idempotency-key", "order-7"),
    )
    assert (result.exit_code, result.stdout) == (0, f"{ID}\n")
    (request,) = gateway.requests
    sent = {"prompt": "Waves.", "duration": 5, "style": "anime", "seed": "7"}
    assert json.loads(request.content) == sent
    assert dict(request.url.params) == {"max_cost": "2", "label": "team:growth"}
    assert request.headers["idempotency-key"] == '"order-7"'


def test_the_input_may_come_from_stdin() -> None:
    gateway = Gateway()
    gateway.run("job", "submit", MODEL, "--input", "-", stdin='{"prompt": "a"}')
    assert json.loads(gateway.requests[0].content) == {"prompt": "a"}


def test_a_file_is_uploaded_and_its_uri_is_the_field(tmp_path: Path) -> None:
    picture = tmp_path / "in.png"
    picture.write_bytes(b"png")
    uploaded = {"uri": "gateway-file:file_1"}
    gateway = Gateway(files=lambda _: httpx.Response(201, json=uploaded))
    gateway.run("job", "submit", MODEL, "--file", f"start_image_url={picture}")
    upload, submit = gateway.requests
    assert upload.content == b"png"
    assert json.loads(submit.content) == {"start_image_url": "gateway-file:file_1"}
    assert gateway.run("file", "upload", str(picture)).stdout == "gateway-file:file_1\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("true", True), ("[1]", [1]), ("a b", "a b"), ('"5"', "5"), ("NaN", "NaN")],
)
def test_a_value_is_json_or_text(text: str, value: object) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize(
    "arguments",
    [
        ("--input", "[]"),
        ("--input", "{"),
        ("--input", "@/no/such/file"),
        ("--set", "duration"),
        ("--set", "a=1", "--set", "a=2"),
        ("--file", "a=/no/such/file"),
        ("--label", "team"),
    ],
)
def test_wrong_usage_sends_nothing(arguments: tuple[str, ...]) -> None:
    gateway = Gateway()
    result = gateway.run("job", "submit", MODEL, *arguments)
    assert result.exit_code == 2
    assert gateway.requests == []


@pytest.mark.parametrize("kept", [KEPT, {}])
def test_a_result_is_waited_for_and_written(tmp_path: Path, kept: Mapping[str, Any]) -> None:
    """What the gateway does not keep comes from RunComfy's link, whose host gets no key."""
    gateway = Gateway({**ENDED, **kept})
    target = tmp_path / "clip.mp4"
    result = gateway.run("job", "submit", MODEL, "--wait", "--output", str(target), "--json")
    assert result.exit_code == 0
    assert target.read_bytes() == VIDEO
    assert json.loads(result.stdout)["files"] == [str(target)]
    assert f"rcg job watch {ID}" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert len(gateway.linked) == (0 if kept else 1)
    assert all("authorization" not in request.headers for request in gateway.linked)


def test_several_outputs_are_numbered_or_go_into_a_folder(tmp_path: Path) -> None:
    gateway = Gateway({**ENDED, "output": {"images": [LINK, LINK]}})
    gateway.run("job", "watch", ID, "--output", str(tmp_path / "clip.mp4"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip-0.mp4", "clip-1.mp4"]
    gateway.run("job", "watch", ID, "--output", f"{tmp_path}/new/")
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_a_broken_link_leaves_no_file(tmp_path: Path) -> None:
    class Broken(Gateway):
        def link(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(410, request=request)

    result = Broken().run("job", "watch", ID, "--output", str(tmp_path / "clip.mp4"))
    assert result.exit_code == 10
    assert list(tmp_path.iterdir()) == []


def test_links_are_found_at_any_depth() -> None:
    output = {"a": [{"b": "https://x/1"}], "c": "http://x/2", "d": "file:///etc/passwd", "e": 1}
    assert list(links_in(output)) == ["https://x/1", "http://x/2"]


def test_a_request_is_continued_without_a_second_submit() -> None:
    gateway = Gateway()
    result = gateway.run("job", "watch", ID)
    assert "completed" in result.stderr
    assert "0.63" in result.stdout
    assert {request.method for request in gateway.requests} == {"GET"}


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({**ENDED, "gateway_status": "failed"}, 8),
        ({**ENDED, "gateway_status": "cancelled"}, 8),
        ({**ENDED, "gateway_status": "in_progress"}, 9),
    ],
)
def test_the_end_is_an_exit_code(result: Mapping[str, Any], code: int) -> None:
    gateway = Gateway(result)
    assert gateway.run("job", "watch", ID, "--wait-limit", "0").exit_code == code


def test_no_answer_to_a_submit_names_the_key_of_its_repetition() -> None:
    gateway = Gateway(**{MODEL.rpartition("/")[2]: refuse("acceptance_unclear", 503)})
    result = gateway.run("job", "submit", MODEL)
    (request,) = gateway.requests
    assert result.exit_code == 7
    assert f"--idempotency-key {request.headers['idempotency-key'][1:-1]}" in result.stderr


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("invalid_input", 3),
        ("idempotency_key_reused", 3),
        ("unauthenticated", 4),
        ("unknown_model", 5),
        ("budget_reached", 6),
        ("cost_above_limit", 6),
        ("unavailable", 7),
        ("internal_error", 1),
        ("a_code_of_later", 1),
    ],
)
def test_a_refusal_is_an_exit_code(code: str, exit_code: int) -> None:
    gateway = Gateway(usage=refuse(code))
    result = gateway.run("usage", "--json")
    assert result.exit_code == exit_code
    assert json.loads(result.stderr)["code"] == code


def test_every_error_of_the_client_has_an_exit_code() -> None:
    defects = {code for code, kind in errors.BY_CODE.items() if exit_code_of(kind({})).code == 1}
    assert defects == {"internal_error", "illegal_transition"}
    assert [row.code for row in EXIT_CODES] == list(range(len(EXIT_CODES)))


def test_the_page_has_every_exit_code_and_command() -> None:
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    for row in EXIT_CODES:
        assert f"| {row.code} | {row.meaning} |" in page
    groups = {"job": jobs.app, "model": models.app, "file": files.app}
    for group, commands in groups.items():
        for command in typer.main.get_group(commands).commands:
            assert f"`rcg {group} {command}" in page


def test_without_url_and_key_the_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEWAY_URL", raising=False)
    monkeypatch.delenv("GATEWAY_API_KEY", raising=False)
    result = CliRunner().invoke(app, ["usage"])
    assert result.exit_code == 2
    assert "GATEWAY_API_KEY" in result.stderr


def test_every_option_of_a_submit_and_filter_of_a_list_is_an_option() -> None:
    submit = set(inspect.signature(jobs.submit).parameters)
    assert set(SubmitOptions.__annotations__) - {"labels"} <= submit
    listed = set(inspect.signature(jobs.list_all).parameters)
    renamed = {"model_id", "created_after", "created_before"}
    assert set(RequestFilters.__annotations__) - renamed <= listed


def test_requests_are_listed_with_the_cursor_of_the_next_page() -> None:
    page = {"requests": [{"request_id": ID, "status": "completed"}], "next_cursor": "abc"}
    gateway = Gateway(requests=lambda _: httpx.Response(200, json=page))
    result = gateway.run("job", "list", "--status", "completed", "--after", "2026-01-01T00:00:00Z")
    assert ID in result.stdout
    assert "next page: --cursor abc" in result.stderr
    sent = {"status": "completed", "created_after": "2026-01-01T00:00:00Z"}
    assert dict(gateway.requests[0].url.params) == sent
    assert json.loads(gateway.run("job", "list", "--json").stdout) == page


@pytest.mark.parametrize("label", ["team:a/b:c", "team=a/b:c"])
def test_a_label_is_given_as_it_is_listed(label: str) -> None:
    gateway = Gateway(requests=lambda _: httpx.Response(200, json={"requests": []}))
    gateway.run("job", "list", "--label", label)
    assert dict(gateway.requests[0].url.params) == {"label": "team:a/b:c"}


def test_a_model_is_shown_with_a_row_for_each_field() -> None:
    schema = {
        "required": ["prompt"],
        "properties": {
            "prompt": {"type": "string", "default": "a" * 100},
            "duration": {"type": "integer", "minimum": 3, "maximum": 15, "default": 5},
        },
    }
    model = {"model_id": MODEL, "pricing_note": "0.084 USD", "input_schema": schema}
    gateway = Gateway(**{"image-to-video": lambda _: httpx.Response(200, json=model)})
    lines = gateway.run("model", "show", MODEL).stdout.splitlines()
    assert any(line.split()[:3] == ["prompt", "yes", "string"] for line in lines)
    assert any("[3, 15]" in line for line in lines)


def test_what_others_wrote_does_not_control_the_terminal() -> None:
    page = {"requests": [{"request_id": ID, "reference": "\x1b[2Jgone"}]}
    gateway = Gateway(requests=lambda _: httpx.Response(200, json=page))
    assert "\x1b" not in gateway.run("job", "list").stdout


def test_the_help_has_the_exit_codes_and_each_command_its_help() -> None:
    gateway = Gateway()
    assert "9 not ended in time" in " ".join(gateway.run("--help").stdout.split())
    for command in ("job submit", "job watch", "model list", "file upload", "usage"):
        assert gateway.run(*command.split(), "--help").exit_code == 0


def test_shells_complete_its_commands() -> None:
    command = typer.main.get_command(app)
    assert {"install_completion", "show_completion"} <= {one.name for one in command.params}
