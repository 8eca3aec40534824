-- Ends one of a tenant's keys. Returns 1, or 0 when it is none of its keys.
-- KEYS: api_key tenant_keys
-- ARGV: digest

if redis.call('SREM', tenant_keys, digest) == 0 then return 0 end
redis.call('DEL', api_key)
return 1
