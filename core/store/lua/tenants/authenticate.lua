-- Says whether a key may act at all. Returns 'ok' or the refusal's word.
-- USES: authenticate
-- KEYS: api_key tenant
-- ARGV: now tenant_name scope

local disabled = redis.call('HGET', tenant, 'disabled')
return authenticate(api_key, disabled, tenant_name, scope, now) or 'ok'
