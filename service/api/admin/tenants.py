"""Operators: tenants, their keys and webhook secrets."""

from typing import Annotated, Any, Final

from fastapi import Query
from starlette.responses import Response

from service.admin import representations
from service.api.admin.router import WRITE_PROBLEMS, admin_router
from service.api.admin.schemas import (
    ApplyQuery,
    CreatedKey,
    CreatedTenant,
    KeyRequest,
    Keys,
    Plan,
    SecretRequest,
    Tenant,
    TenantRequest,
    Tenants,
    WebhookSecret,
)
from service.api.usage import TopUps, Usage, UsageReport
from service.http.dependencies import Admin, Context
from service.http.json_response import json_response
from service.http.openapi import Tag, problem_responses
from service.tenants import api_keys, apply_file, tenants, top_ups
from service.tenants.apply_file import TenantsFile
from service.tenants.settings import TenantSettings
from service.tenants.tenants import TenantDetails
from service.tenants.top_ups import TopUpRequest, top_ups_representation
from service.tenants.usage import usage_representation
from service.tenants.usage_reports import UsageQuery, report_all, report_representation
from service.webhooks import audited_webhooks
from service.webhooks.requests import SecretRotation

JsonObject = dict[str, Any]
router = admin_router(Tag.ADMIN_TENANTS)
# What an omitted body means.
_NO_SETTINGS: Final = TenantSettings()
_NO_KEY: Final = KeyRequest()
_NO_OVERLAP: Final = SecretRequest()


@router.get("/tenants", response_model=Tenants)
async def list_tenants(admin: Admin) -> Response:
    """List tenants."""
    found = await tenants.list_tenants(admin)
    # Stored records are not validated again: bounds may be narrower than when they were written.
    return json_response({"tenants": list(map(representations.tenant_representation, found))})


@router.post("/tenants", response_model=CreatedTenant, status_code=201, responses=WRITE_PROBLEMS)
async def create_tenant(admin: Admin, request: TenantRequest) -> Response:
    """Create a tenant with its first key.

    The body is `tenant` (its name) and any settings; those that it leaves out set no limit,
    unless the gateway has `default_limits` (`PATCH /admin/v1/limits`). null: no limit.
    """
    made = await tenants.create_tenant(admin, request.tenant, request)
    return json_response(representations.new_tenant_representation(made), 201)


@router.put("/tenants", response_model=Plan, responses=WRITE_PROBLEMS)
async def apply_tenants(
    admin: Admin, query: Annotated[ApplyQuery, Query()], file: TenantsFile
) -> JsonObject:
    """Make tenants match a file.

    Settings that are left out get their defaults, limits the gateway's `default_limits`; tenants
    that are left out do not change.
    Applying a file twice changes nothing.
    """
    run = apply_file.preview if query.dry_run else apply_file.apply
    steps = await run(admin, file)
    return {"steps": [representations.step_representation(step) for step in steps]}


@router.get("/tenants/{tenant}", response_model=Tenant)
async def show_tenant(admin: Admin, tenant: str) -> Response:
    """Show a tenant."""
    details = await tenants.load_details(admin, tenant)
    return json_response(representations.tenant_representation(details))


@router.patch("/tenants/{tenant}", response_model=Tenant, responses=WRITE_PROBLEMS)
async def change_tenant(
    admin: Admin, tenant: str, settings: TenantSettings = _NO_SETTINGS
) -> Response:
    """Change a tenant's settings.

    Only those that the body has; null removes a limit. They apply from the next submit: jobs that
    run or wait above a lowered limit are not stopped.
    """
    changed, _ = await tenants.change_tenant(admin, tenant, settings)
    return json_response(representations.tenant_representation(changed))


@router.delete("/tenants/{tenant}", status_code=204, responses=problem_responses(409))
async def delete_tenant(admin: Admin, tenant: str) -> None:
    """Delete a tenant.

    Its keys stop working immediately; its open jobs run to their end, are paid for, and their
    webhooks are delivered. The name is available again after 30 days.
    """
    await tenants.delete_tenant(admin, tenant)


@router.get("/usage", response_model=UsageReport, responses=problem_responses(400, 422))
async def report_usage(admin: Admin, query: Annotated[UsageQuery, Query()]) -> JsonObject:
    """Show what all tenants used over days.

    Deleted tenants are included while their history is kept.
    """
    return report_representation(await report_all(admin, query))


@router.get("/tenants/{tenant}/usage", response_model=Usage, name="usage")
async def show_usage(admin: Admin, context: Context, tenant: str) -> JsonObject:
    """Show what a tenant used."""
    used = await tenants.load_usage(admin, tenant)
    disabled = await context.webhooks.disabled_endpoints(tenant)
    return usage_representation(tenant, used, admin.clock.now(), disabled)


@router.post(
    "/tenants/{tenant}/top-ups", response_model=TopUps, status_code=201, responses=WRITE_PROBLEMS
)
async def add_top_up(admin: Admin, tenant: str, request: TopUpRequest) -> JsonObject:
    """Let a tenant spend more than its budgets, once.

    The budgets rise by the amount until the end of the day `until`. What a day or a month uses of
    it is not there in the next one.
    """
    return {"top_ups": top_ups_representation(await top_ups.add_top_up(admin, tenant, request))}


@router.delete("/tenants/{tenant}/top-ups", status_code=204)
async def end_top_ups(admin: Admin, tenant: str) -> None:
    """End all top-ups of a tenant now."""
    await top_ups.end_top_ups(admin, tenant)


@router.get("/tenants/{tenant}/keys", response_model=Keys)
async def list_keys(admin: Admin, tenant: str) -> JsonObject:
    """List a tenant's keys, oldest first."""
    found = await api_keys.list_keys(admin, tenant)
    return {"keys": [representations.key_representation(use) for use in found]}


@router.post(
    "/tenants/{tenant}/keys", response_model=CreatedKey, status_code=201, responses=WRITE_PROBLEMS
)
async def create_key(admin: Admin, tenant: str, request: KeyRequest = _NO_KEY) -> JsonObject:
    """Create another key for a tenant."""
    scopes = frozenset(request.scopes)
    made = await api_keys.create_key(admin, tenant, scopes, request.expires_at, request)
    return representations.new_key_representation(*made)


@router.delete("/tenants/{tenant}/keys/{key_id}", status_code=204)
async def revoke_key(admin: Admin, tenant: str, key_id: str) -> None:
    """Revoke a key.

    It stops working immediately. Jobs that it submitted run to their end.
    """
    await api_keys.revoke_key(admin, tenant, key_id)


@router.post(
    "/tenants/{tenant}/webhook-secret",
    response_model=WebhookSecret,
    status_code=201,
    responses=WRITE_PROBLEMS,
)
async def rotate_webhook_secret(
    admin: Admin, context: Context, tenant: str, request: SecretRequest = _NO_OVERLAP
) -> JsonObject:
    """Create a new webhook secret.

    Webhooks carry the signatures of both until `overlap_seconds` have passed (one day by default),
    or the old secret is retired.
    """
    name = (await tenants.load_tenant(admin, tenant)).name
    rotation = SecretRotation(overlap=request.overlap_seconds)
    made = await audited_webhooks.rotate_secret(admin, context.webhooks, name, rotation)
    return representations.new_secret_representation(*made)


@router.delete("/tenants/{tenant}/webhook-secret/previous", response_model=Tenant)
async def retire_webhook_secret(admin: Admin, context: Context, tenant: str) -> Response:
    """Retire the webhook secrets and key pairs before the newest."""
    found = await tenants.load_tenant(admin, tenant)
    config = await audited_webhooks.retire_secrets(admin, context.webhooks, found.name)
    details = TenantDetails(found, config)
    return json_response(representations.tenant_representation(details))
