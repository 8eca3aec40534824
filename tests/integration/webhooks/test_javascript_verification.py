"""Our signatures, verified by the JavaScript library that receivers use."""

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from core.webhooks.secrets import encode_webhook_secret
from core.webhooks.signing_keys import encode_signing_key, public_key
from tests.support import marks
from worker.webhooks.signing import sign

JS: Final = Path(__file__).parent / "js"
OLD, NEW, STRANGER = (encode_webhook_secret(bytes([seed]) * 32) for seed in (1, 2, 3))
KEY, NEXT_KEY = (encode_signing_key(bytes([seed]) * 32) for seed in (4, 5))
BODY: Final = '{"type":"request.completed","data":{"prompt":"perché 🎬 ok"}}'

pytestmark = [
    marks.NODE,
]


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script beside the library that it imports, installed without running package scripts."""
    home = tmp_path_factory.mktemp("js")
    for name in ("package.json", "verify.mjs"):
        shutil.copy(JS / name, home)
    npm = shutil.which("npm")
    assert npm is not None
    done = subprocess.run(
        [npm, "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"],
        cwd=home,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, f"npm could not install standardwebhooks:\n{done.stderr}"
    return home / "verify.mjs"


def case(secret: str, *signed_by: str, body: str = BODY, age: timedelta = timedelta(0)) -> object:
    """A signed request as a receiver with `secret` gets it; it may be signed with other secrets."""
    headers = sign(
        BODY.encode(),
        webhook_id="msg_1",
        timestamp=datetime.now(UTC) - age,
        secrets=[text for text in signed_by if text.startswith("whsec_")],
        keys=[text for text in signed_by if text.startswith("whsk_")],
    )
    return {"secret": secret, "headers": dict(headers), "body": body}


def test_javascript_agrees(verifier: Path) -> None:
    cases = {
        "one secret": (case(OLD, OLD), "ok"),
        "rotation, old": (case(OLD, OLD, NEW), "ok"),
        "rotation, new": (case(NEW, OLD, NEW), "ok"),
        "ed25519 beside": (case(OLD, OLD, KEY), "ok"),
        "ed25519": (case(public_key(KEY), OLD, KEY), "ok"),
        "ed25519, rotated": (case(public_key(KEY), NEXT_KEY, KEY), "ok"),
        "ed25519, stranger": (case(public_key(NEXT_KEY), OLD, KEY), "No matching signature found"),
        "ed25519, changed body": (
            case(public_key(KEY), KEY, body=BODY + " "),
            "No matching signature found",
        ),
        "stranger": (case(STRANGER, OLD, NEW), "No matching signature found"),
        "changed body": (case(OLD, OLD, body=BODY + " "), "No matching signature found"),
        "old": (case(OLD, OLD, age=timedelta(minutes=10)), "Message timestamp too old"),
    }
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, verifier],
        input=json.dumps([given for given, _ in cases.values()]),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    verdicts = dict(zip(cases, json.loads(done.stdout), strict=True))
    assert verdicts == {name: expected for name, (_, expected) in cases.items()}
