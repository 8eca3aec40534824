-- Checks an API key. Returns 'ok', 'unauthenticated' or 'not_permitted'.
-- USES: authenticate
-- KEYS: api_key tenant
-- ARGV: now tenant_name scope

local disabled = redis.call('HGET', tenant, 'disabled')
return authenticate(api_key, disabled, tenant_name, scope, now) or 'ok'
