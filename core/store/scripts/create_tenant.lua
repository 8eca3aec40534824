-- Writes a new tenant with its first key, unless the name is taken. Returns 1 or 0.
-- KEYS: tenant tenants api_key
-- ARGV: name doc disabled scopes expires key_doc

if redis.call('EXISTS', tenant) == 1 then return 0 end
redis.call('HSET', tenant, 'disabled', disabled, 'doc', doc)
redis.call('SADD', tenants, name)
redis.call('HSET', api_key, 'tenant', name, 'expires', expires, 'scopes', scopes, 'doc', key_doc)
return 1
