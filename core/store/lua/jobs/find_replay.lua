-- Looks up an idempotency key. Returns { the error of the API key }, { 'new' }, { 'key_reused' } or
-- { 'replayed', id, doc, output }.
-- USES: authenticate replay
-- FLAGS: allow-oom
-- KEYS: api_key tenant idempotency
-- ARGV: now tenant_name scope address fingerprint

local disabled = redis.call('HGET', tenant, 'disabled')
local auth_error, scopes = authenticate(api_key, disabled, tenant_name, scope, now, address)
if auth_error then return { auth_error } end
return find_replay(idempotency, fingerprint, scopes) or { 'new' }
