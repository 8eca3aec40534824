-- Checks an API key for a call that is no submit. Returns 'ok', or an error (lib/authenticate_call.lua).
-- USES: authenticate authenticate_call
-- KEYS: api_key tenant
-- ARGV: now tenant_name scope multiplies

return authenticate_call(api_key, tenant, tenant_name, scope, now, multiplies) or 'ok'
