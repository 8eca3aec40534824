"""A request with `not_before`, through the whole stack."""

from datetime import UTC, datetime, timedelta

from simulator.example import load_kling_example
from simulator.stack import Stack
from tests.support.stack import tenant_client


def test_a_held_request_is_submitted_at_its_time_and_its_labels_come_back(stack: Stack) -> None:
    example = load_kling_example()
    not_before = datetime.now(UTC) + timedelta(seconds=4)
    with tenant_client(stack, "patient") as tenant:
        answer = tenant.http.post(
            f"/v1/models/{example.model_id}",
            json=example.input,
            params={"not_before": not_before.isoformat(), "label": "team:growth"},
            headers={"prefer": "wait=50"},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        path = f"/v1/requests/{answer.json()['request_id']}"
        detail = tenant.http.get(path).json()
        listed = tenant.http.get("/v1/requests?label=team:growth").json()["requests"]

    assert detail["labels"] == {"team": "growth"}
    assert [one["request_id"] for one in listed] == [detail["request_id"]]
    claimed = [line["at"] for line in detail["timeline"] if line["what"] == "claimed"]
    assert [datetime.fromisoformat(at) >= not_before for at in claimed] == [True]
