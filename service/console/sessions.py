"""Who uses the console: sessions, their cookie, and codes that sign in once.

The cookie is a random token. The store has its digest with the digest of the key that signed in,
which is looked up with each page: a revoked key ends its sessions.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Final

import orjson

from core.errors import NotFound, Unauthenticated
from core.operators.operator import operator_named_by, operator_token_digest
from core.tenants.api_keys import KEY_ID_LENGTH, ApiKey, Credential, Scope, parse_api_key
from service.admin.operators import Login, log_in_by_digest
from service.callers.user import User
from service.context import AppContext
from service.http.operators import CONFIGURED_LOGIN, is_same_token, log_in_operator
from service.operator_context import AdminContext
from service.parsing.identity_headers import Identity
from service.streaming.shared_reads import LONGEST_AGE
from service.tenants.api_keys import key_id, list_keys

SESSION_LIFETIME: Final = timedelta(hours=12)
CODE_LIFETIME: Final = timedelta(minutes=15)
MAX_TOKEN_LENGTH: Final = 256
_PERSON_PREFIX: Final = "person:"


async def sign_in(context: AppContext, secret: str, address: str, *, with_operators: bool) -> bytes:
    """Return the document of a session for an API key, or the token of an operator.

    Raises `Unauthenticated`.
    """
    if len(secret) > MAX_TOKEN_LENGTH:
        raise Unauthenticated
    if secret.startswith("rcg_"):
        return await _tenant_document(context, parse_api_key(secret, address))
    if not with_operators:
        raise Unauthenticated
    login = await log_in_operator(context, secret, address)
    name = None if login is CONFIGURED_LOGIN else operator_named_by(secret)
    return operator_document(name, operator_token_digest(secret))


async def _tenant_document(context: AppContext, credential: Credential) -> bytes:
    await context.stores.jobs.authenticate(credential, None)
    keys = await context.stores.tenants.list_keys(credential.tenant)
    by_digest = {use.api_key.digest: use.api_key.scopes for use in keys}
    held = by_digest.get(credential.digest, frozenset())
    return key_document(credential.tenant, credential.digest, held)


def key_document(tenant: str, digest: str, scopes: frozenset[Scope], person: str = "") -> bytes:
    """Return the document of the session of a tenant's key, and of the person who uses it."""
    fields = {"tenant": tenant, "digest": digest, "scopes": sorted(scopes)}
    return orjson.dumps({**fields, "person": person} if person else fields)


async def find_key(admin: AdminContext, tenant: str, chosen: str | None) -> ApiKey:
    """Return a tenant's valid key with the id `chosen`; None: the newest one. Raises `NotFound`."""
    now = admin.clock.now()
    keys = [use.api_key for use in await list_keys(admin, tenant)]
    found = [
        key
        for key in keys
        if (key.expires_at is None or key.expires_at > now) and chosen in {None, key_id(key)}
    ]
    if not found:
        raise NotFound("The tenant has no such valid key." if chosen else "It has no valid key.")
    return max(found, key=lambda key: key.created_at)


async def person_document(context: AppContext, identity: Identity, choice: str) -> bytes:
    """Return the document of the session of a person, by one of its grants; "": an operator.

    Raises `Unauthenticated`: the tenant has no valid key.
    """
    if not choice:
        return orjson.dumps({"person": identity.person})
    grant = identity.tenants[choice]
    try:
        key = await find_key(context.admin, grant.tenant, grant.key_id)
    except NotFound as error:
        raise Unauthenticated(f"{choice}: {error.detail}") from error
    return key_document(grant.tenant, key.digest, key.scopes, identity.person)


def operator_document(name: str | None, digest: str) -> bytes:
    """Return the document of an operator's session. No name: `GATEWAY_ADMIN_TOKEN`."""
    return orjson.dumps({"operator": name, "digest": digest})


async def begin_session(context: AppContext, document: bytes) -> str:
    """Store a session and return its token, for the cookie."""
    token = new_token(context.ids.secret())
    await context.stores.console_sessions.add(digest_of(token), document, SESSION_LIFETIME)
    return token


async def end_session(context: AppContext, token: str) -> None:
    """End the session of a cookie."""
    await context.stores.console_sessions.take(digest_of(token))


async def redeem_code(context: AppContext, code: str) -> bytes:
    """Return the document of the session that a code begins, once. Raises `Unauthenticated`."""
    document = await context.stores.console_sessions.take(digest_of(code, _CODE))
    if document is None:
        raise Unauthenticated("This sign-in link was used before, or is too old.")
    return document


async def load_user(
    context: AppContext,
    token: str,
    address: str,
    identity: Identity | None = None,
    *,
    with_operators: bool,
) -> User:
    """Return who has this session. `identity` is whom the proxy names with this request.

    Raises `Unauthenticated`: ended, its key was revoked, or its person is not the one who is named
    or may no longer do it.
    """
    document = await context.stores.console_sessions.load(digest_of(token))
    if document is None:
        raise Unauthenticated
    fields = orjson.loads(document)
    csrf, person = _csrf_token(token), fields.get("person", "")
    if person and not await _is_allowed(context, identity, fields):
        raise Unauthenticated
    if "tenant" in fields:
        credential = Credential(fields["tenant"], fields["digest"], address, person=person)
        await _check_key(context, credential)
        return User(credential, frozenset(map(Scope, fields["scopes"])), csrf)
    if not with_operators:
        raise Unauthenticated
    if person and identity is not None:
        return User(Login(f"{_PERSON_PREFIX}{person}", identity.roles), csrf=csrf)
    login = await _load_login(context, fields["operator"], fields["digest"])
    return User(login, csrf=csrf, operator=fields["operator"], token_digest=fields["digest"])


async def _is_allowed(
    context: AppContext, identity: Identity | None, session: Mapping[str, str]
) -> bool:
    """Return whether `identity` is the session's person, who may use its key or be an operator."""
    if identity is None or identity.person != session["person"]:
        return False
    if "tenant" not in session:
        return bool(identity.roles)
    return await _grants_key(context, identity, session["tenant"], session["digest"])


async def _grants_key(context: AppContext, identity: Identity, tenant: str, digest: str) -> bool:
    """Return whether a grant of the tenant is for this key: by its id, or as the newest one."""
    granted = {grant.key_id for grant in identity.tenants.values() if grant.tenant == tenant}
    if digest[:KEY_ID_LENGTH] in granted:
        return True
    if None not in granted:
        return False
    try:
        newest = await find_key(context.admin, tenant, None)
    except NotFound:
        return False
    return is_same_token(newest.digest, digest)


async def check_identity(context: AppContext, user: User) -> None:
    """Raise `Unauthenticated` if the key of a user was revoked, as of some seconds ago."""
    if isinstance(user.identity, Credential):
        await _check_key(context, user.identity)
    elif user.token_digest:
        await _load_login(context, user.operator, user.token_digest)


async def _check_key(context: AppContext, credential: Credential) -> None:
    # Of a thousand consoles that find the last check too old, one repeats it.
    check = partial(context.known_keys.check, credential, None)
    await context.shared_reads.get(("key", credential), check)


async def _load_login(context: AppContext, name: str | None, digest: str) -> Login:
    """Return the login of an operator's token. No name: `GATEWAY_ADMIN_TOKEN`."""
    if name is not None:
        return await context.shared_reads.get(
            ("login", name, digest),
            lambda: log_in_by_digest(context.admin, name, digest),
            LONGEST_AGE,  # as the check of a tenant's key
        )
    configured = context.policy.admin_token
    if configured is None or not is_same_token(
        operator_token_digest(configured.get_secret_value()), digest
    ):
        raise Unauthenticated
    return CONFIGURED_LOGIN


_CODE: Final = "code"
_SESSION: Final = "session"


def new_token(secret: bytes) -> str:
    """Return a token of 32 random bytes."""
    return urlsafe_b64encode(secret).rstrip(b"=").decode()


def digest_of(token: str, kind: str = _SESSION) -> str:
    """Return the digest under which a token is stored: a code is no session, and the reverse."""
    return hashlib.sha256(f"{kind}:{token}".encode()).hexdigest()


def code_digest(code: str) -> str:
    """Return the digest under which a sign-in code is stored."""
    return digest_of(code, _CODE)


def _csrf_token(token: str) -> str:
    return hmac.digest(token.encode(), b"csrf", "sha256").hex()
