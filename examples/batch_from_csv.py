"""Submit the rows of a CSV file as one batch, wait, and write their outputs to another.

    GATEWAY_URL=http://127.0.0.1:8000 GATEWAY_API_KEY=rcg_... \
        python batch_from_csv.py in.csv out.csv

`in.csv` has the columns `reference`, `model_id`, and one for each input field; empty cells are left
out, numbers are numbers. `out.csv` has `reference`, `request_id`, `status`, `output`, `error`. Run
it again after it was stopped: the same file is the same batch, and is not paid for twice.
"""

import csv
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from runcomfy_gateway_client import BatchItem, Client, GatewayError
from runcomfy_gateway_client.options import BatchEntry

OWN_COLUMNS = ("reference", "model_id")


def read_entries(path: Path) -> list[BatchEntry]:
    """Return one submit for each row."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [
            {
                "model_id": row["model_id"],
                "reference": row["reference"],
                "input": {
                    name: read_cell(cell)
                    for name, cell in row.items()
                    if cell and name not in OWN_COLUMNS
                },
            }
            for row in csv.DictReader(file)
        ]


def read_cell(cell: str) -> object:
    """Return a number, a flag or a list as such, everything else as text."""
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def describe(
    client: Client, entries: list[BatchEntry], items: Sequence[BatchItem]
) -> Iterator[dict[str, object]]:
    """Yield a row of the result for each item."""
    for item in items:
        row: dict[str, object] = {
            "reference": entries[item.index]["reference"],  # a refused item has none
            "request_id": item.request_id,
            "status": item.status or "refused",
        }
        if item.request_id is None:
            yield {**row, "error": (item.error or {}).get("detail")}
            continue
        try:
            result = client.request(item.request_id).wait()
        except GatewayError as error:
            yield {**row, "error": str(error)}
        else:
            yield {**row, "output": json.dumps(result.output)}


def main() -> int:
    """Return 0 if every row has an output."""
    source, target = map(Path, sys.argv[1:3])
    key = hashlib.sha256(source.read_bytes()).hexdigest()
    entries = read_entries(source)
    with Client() as client:
        batch = client.batch(entries, admit="fit", idempotency_key=key)
        print(f"batch {batch.batch_id}", flush=True)
        ended = client.wait_for_batch(batch.batch_id)
        rows = list(describe(client, entries, ended.items))
    columns = ("reference", "request_id", "status", "output", "error")
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    print(f"counts {json.dumps(ended.counts)}")
    return 0 if all("output" in row for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
