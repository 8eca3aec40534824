"""Write the types of the TypeScript client, from the part of the API description for tenants.

Run `python -m docs.client_types` from the root of the repository, after `npm ci` in
`clients/typescript`. A test fails when the file is stale.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import orjson

from service.api.admin.router import ADMIN_ROOT
from service.api.openapi_document import openapi_document
from service.app import create_app
from service.context import AppContext
from service.problems import STATUS

PACKAGE: Final = Path(__file__).parents[1] / "clients/typescript"
TYPES: Final = PACKAGE / "src/schema.ts"
GENERATOR: Final = PACKAGE / "node_modules/.bin/openapi-typescript"
_HEAD: Final = b"// Made by `make clienttypes` from the API description; edit neither.\n"
_REFERENCE: Final = re.compile(r'"#/components/schemas/([^"]+)"')


def tenant_document() -> dict[str, Any]:
    """Return the description of what tenants call, and of the bodies of webhooks."""
    whole = openapi_document(create_app(_never_opened).routes)
    paths = {path: of for path, of in whole["paths"].items() if not path.startswith(ADMIN_ROOT)}
    schemas = whole["components"]["schemas"]
    wanted = set(_reachable({"paths": paths, "body": schemas["WebhookPayload"]}, schemas))
    kept = {name: schemas[name] for name in wanted | {"WebhookPayload"}}
    about = {"openapi": whole["openapi"], "info": whole["info"]}
    described = {**about, "paths": paths, "components": {"schemas": kept}}
    document: dict[str, Any] = _without_examples(described)
    return document


def types() -> bytes:
    """Return the file's content. Needs Node and the package's development dependencies."""
    done = subprocess.run(  # noqa: S603 - a program of the lock file, and no input of others
        [GENERATOR, "/dev/stdin", "--default-non-nullable=false"],
        input=orjson.dumps(tenant_document(), option=orjson.OPT_SORT_KEYS),
        stdout=subprocess.PIPE,
        check=True,
    )
    return _HEAD + done.stdout + _error_codes()


def _reachable(part: object, schemas: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the schemas that `part` refers to, and those that these refer to."""
    found: set[str] = set()
    left = [part]
    while left:
        names = set(_REFERENCE.findall(orjson.dumps(left.pop()).decode())) - found
        found |= names
        left += [schemas[name] for name in names]
    yield from found


def _error_codes() -> bytes:
    """Return a type of the codes that answers have; the description has no list of them."""
    codes = sorted({kind.code for kind in STATUS} - {"error"})
    words = "".join(f'\n    | "{code}"' for code in codes)
    comment = "/** The codes of errors, which `docs/errors.md` explains. */"
    return f"{comment}\nexport type ErrorCode ={words};\n".encode()


def _without_examples(part: Any, inside: str = "") -> Any:  # noqa: ANN401 - any JSON
    """Leave out what doubles the size of the types. A property may have the name `example`."""
    if isinstance(part, list):
        return [_without_examples(one) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        name: _without_examples(one, name)
        for name, one in part.items()
        if inside == "properties" or name not in {"example", "examples"}
    }


def _never_opened() -> AbstractAsyncContextManager[AppContext]:
    raise AssertionError("no request is served here")


if __name__ == "__main__":
    TYPES.write_bytes(types())
    sys.stdout.write(f"{TYPES}\n")
