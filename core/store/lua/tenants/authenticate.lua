-- Checks an API key, and counts the call unless `rate` is ''. Returns 'ok', or an error (lib/authenticate_call.lua).
-- USES: authenticate authenticate_call
-- FLAGS: allow-oom
-- KEYS: api_key tenant
-- ARGV: now tenant_name scope address rate

return authenticate_call(api_key, tenant, tenant_name, scope, now, address, rate) or 'ok'
