-- Gives a tenant one more key, unless it has `most` already. Returns 1, 0, or -1 without the tenant
-- (a deleted one's record is still there for its open jobs).
-- KEYS: tenants api_key tenant_keys
-- ARGV: name digest scopes expires key_doc most

if redis.call('SISMEMBER', tenants, name) == 0 then return -1 end
if redis.call('SCARD', tenant_keys) >= tonumber(most) then return 0 end
redis.call('HSET', api_key, 'tenant', name, 'expires', expires, 'scopes', scopes, 'doc', key_doc)
redis.call('SADD', tenant_keys, digest)
return 1
