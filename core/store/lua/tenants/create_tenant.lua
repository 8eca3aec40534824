-- Writes a new tenant with its first key, unless the name is taken. Returns 1 or 0.
-- A pause that an earlier one of that name left is not the new one's. Extra ARGV are the tenant's
-- fields and values in turn.
-- KEYS: tenant tenants api_key tenant_keys pauses
-- ARGV: name digest scopes expires key_doc ...

if redis.call('EXISTS', tenant) == 1 then return 0 end
redis.call('HSET', tenant, unpack(ARGV, FIXED_ARGUMENTS + 1))
redis.call('SADD', tenants, name)
redis.call('SREM', pauses, 'tenant:' .. name)
redis.call('HSET', api_key, 'tenant', name, 'expires', expires, 'scopes', scopes, 'doc', key_doc)
redis.call('SADD', tenant_keys, digest)
return 1
