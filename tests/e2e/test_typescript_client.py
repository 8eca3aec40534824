"""The TypeScript client against a real gateway and a simulated RunComfy."""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from simulator.example import load_kling_example
from simulator.stack import Stack, TenantCredentials, without_settings
from tests.support import marks
from tests.support.media import png
from tests.support.stack import create_tenant, paid_submits, running_stack
from tests.support.typescript import NODE, install_client

pytestmark = marks.TYPESCRIPT
MODEL: Final = load_kling_example().model_id
INPUT: Final = load_kling_example().input
PICTURE: Final = base64.b64encode(png()).decode()
TIMEOUT_SECONDS: Final = 200
BEGIN: Final = f"""
import {{ Client, GatewayError }} from "runcomfy-gateway-client";
import {{ downloadTo }} from "runcomfy-gateway-client/node";
const client = new Client();
const MODEL = {json.dumps(MODEL)}, INPUT = {json.dumps(INPUT)};
const answer = (value) => console.log(JSON.stringify(value));
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests of the file, which keeps outputs."""
    folder = tmp_path_factory.mktemp("stack")
    objects = {"GATEWAY_OBJECTS__URL": f"file://{folder}/objects", "GATEWAY_ARCHIVE__MODE": "after"}
    with running_stack(folder, objects) as stack:
        yield stack


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose programs can import the client."""
    folder = tmp_path_factory.mktemp("programs")
    install_client(folder)
    return folder


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> TenantCredentials:
    """One for all: to create it takes longer than a test."""
    return create_tenant(stack, "typescript")


@pytest.fixture
def run(stack: Stack, tenant: TenantCredentials, programs: Path) -> "Run":
    return Run(stack, tenant, programs)


class Run:
    """Runs a program as one tenant."""

    def __init__(self, stack: Stack, tenant: TenantCredentials, folder: Path) -> None:
        self.stack = stack
        self._tenant = tenant
        self._folder = folder

    def __call__(self, program: str) -> Any:  # noqa: ANN401 - the JSON that a program answers
        given = {"GATEWAY_URL": self.stack.url, "GATEWAY_API_KEY": self._tenant.key}
        done = subprocess.run(
            [NODE, "--input-type=module", "--eval", BEGIN + program],
            cwd=self._folder,
            env={**without_settings(os.environ), **given},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def test_run(run: Run) -> None:
    found = run("""
        const seen = [];
        const onProgress = (status) => seen.push(status.gateway_status);
        const options = { onProgress, wait: 60, labels: { team: "a" } };
        const result = await client.run(MODEL, INPUT, options);
        answer({ seen, result });
    """)
    assert (found["result"]["gateway_status"], found["result"]["billed"]) == ("completed", "yes")
    assert found["result"]["labels"] == {"team": "a"}
    assert found["seen"][-1] == "completed"


def test_another_process_goes_on_with_the_id(run: Run) -> None:
    request_id = run("answer((await client.submit(MODEL, INPUT)).id);")
    events = run(f"""
        const types = [];
        for await (const event of client.request("{request_id}").events()) types.push(event.type);
        answer(types);
    """)
    assert (events[0], events[-1]) == ("request.in_queue", "request.completed")
    result = run(f'answer(await client.request("{request_id}").wait({{ wait: 60 }}));')
    assert result["request_id"] == request_id


def test_a_repeated_call_with_its_key_is_paid_for_once(run: Run) -> None:
    before = paid_submits(run.stack)
    program = 'answer(await client.run(MODEL, INPUT, { idempotencyKey: "order-7" }));'
    assert run(program)["request_id"] == run(program)["request_id"]
    assert paid_submits(run.stack) == before + 1


def test_a_batch(run: Run) -> None:
    batch = run("""
        const entry = { model_id: MODEL, input: INPUT };
        const entries = [0, 1, 2].map((n) => ({ ...entry, reference: `${n}` }));
        const { batch_id } = await client.batch(entries);
        answer(await client.waitForBatch(batch_id, { wait: 60 }));
    """)
    assert batch["counts"]["completed"] == 3
    assert [item["reference"] for item in batch["items"]] == ["0", "1", "2"]


def test_errors_have_the_gateways_codes(run: Run) -> None:
    found = run("""
        const calls = [
            () => client.run(MODEL, { prompt: 5 }),
            () => client.submit("no/such-model", {}),
            () => client.submit(MODEL, INPUT, { max_cost: 0.01 }),
            () => new Client({ apiKey: "rcg_wrong" }).usage(),
        ];
        const codes = [];
        for (const call of calls) {
            await call().catch((error) => {
                if (!(error instanceof GatewayError)) throw error;
                codes.push([error.code, error.billed, error.retryable]);
            });
        }
        answer(codes);
    """)
    codes = ["invalid_input", "unknown_model", "cost_above_limit", "unauthenticated"]
    assert found == [[code, "no", False] for code in codes]


def test_an_upload_a_dry_run_models_and_usage(run: Run) -> None:
    found = run(
        """
        const { uri } = await client.upload(Buffer.from(PICTURE, "base64"));
        const { estimated_cost } = await client.dryRun(MODEL, INPUT);
        const { models } = await client.models({ search: "kling" });
        const ids = models.map((model) => model.model_id);
        const { tenant } = await client.usage();
        const { model_id } = await client.model(MODEL);
        answer({ uri, estimated_cost, ids, tenant, model_id });
    """.replace("PICTURE", json.dumps(PICTURE))
    )
    assert found["uri"].startswith("gateway-file:")
    assert found["estimated_cost"] > 0
    assert MODEL in found["ids"]
    assert found["model_id"] == MODEL


def test_outputs_are_written_to_files(run: Run, tmp_path: Path) -> None:
    paths = run(f"""
        const {{ request_id }} = await client.run(MODEL, INPUT, {{ wait: 60 }});
        answer(await downloadTo(client, request_id, {json.dumps(str(tmp_path))}, {{ wait: 60 }}));
    """)
    assert [Path(path).suffix for path in paths] == [".mp4"]
    assert [Path(path).stat().st_size > 0 for path in paths] == [True]
