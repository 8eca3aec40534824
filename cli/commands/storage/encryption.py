"""`gateway encryption …`: keys of the encryption at rest."""

import typer

from cli.output import JsonOption, print_document
from cli.run_command import run_admin
from cli.settings_errors import load_settings
from core.store.encryption import new_encryption_key
from service.admin.encryption import rewrite_secrets
from service.settings import ServiceSettings

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def new_key() -> None:
    """Print a new key for GATEWAY_ENCRYPTION_KEYS."""
    print(new_encryption_key())


@app.command()
def rewrite(*, as_json: JsonOption = False) -> None:
    """Encrypt all webhook secrets and header values again, by the first key.

    After it the older keys can be removed.
    """
    if not load_settings(ServiceSettings).secret_keys:
        raise typer.BadParameter("GATEWAY_ENCRYPTION_KEYS is not set")
    tenants = run_admin(rewrite_secrets)
    print_document({"rewritten": True, "tenants": tenants}, as_json=as_json)
