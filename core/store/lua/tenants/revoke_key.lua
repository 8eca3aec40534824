-- Deletes an API key of a tenant. Returns 1, or 0 if it is not one of its keys.
-- FLAGS: allow-oom
-- KEYS: api_key tenant_keys
-- ARGV: digest

if redis.call('SREM', tenant_keys, digest) == 0 then return 0 end
redis.call('DEL', api_key)
return 1
