-- Stores a new tenant with its first API key and its webhook config. Returns 1, or 0 if the name is taken.
-- A pause left by a former tenant of that name is removed. Further ARGV: the tenant's fields and values.
-- KEYS: tenant tenants api_key tenant_keys pauses webhooks
-- ARGV: name digest scopes expires key_doc config_version config_doc ...

if redis.call('EXISTS', tenant) == 1 then return 0 end
redis.call('HSET', tenant, unpack(ARGV, FIXED_ARGUMENTS + 1))
redis.call('HSET', webhooks, 'version', config_version, 'doc', config_doc)
redis.call('PERSIST', webhooks)
redis.call('SADD', tenants, name)
redis.call('HDEL', pauses, 'tenant:' .. name)
redis.call('HSET', api_key, 'tenant', name, 'expires', expires, 'scopes', scopes, 'doc', key_doc)
redis.call('SADD', tenant_keys, digest)
return 1
