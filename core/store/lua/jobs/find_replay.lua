-- Looks up an idempotency key. Returns { the error of the API key, or 'limited ...' }, { 'new' }, { 'key_reused' } or
-- { 'replayed', id, doc, output }.
-- USES: authenticate authenticate_call replay
-- KEYS: api_key tenant idempotency
-- ARGV: now tenant_name scope address fingerprint

local stored = redis.call('HMGET', tenant, 'disabled', 'calls_per_minute')
local auth_error, scopes = authenticate(api_key, stored[1], tenant_name, scope, now, address)
if auth_error then return { auth_error } end
return find_replay(idempotency, fingerprint, scopes, tenant_name, stored[2], now) or { 'new' }
