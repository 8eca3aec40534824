-- Ends a tenant: its keys go at once, its record stays (disabled, for its open jobs and their
-- callbacks) until `ttl_seconds` seconds have passed. Extra ARGV are its fields and values. Returns how many
-- keys were revoked, or -1 when the record has changed. Extra KEYS go with the record.
-- KEYS: tenant tenants tenant_keys queue_tags waiting ...
-- ARGV: expected name api_key_prefix ttl_seconds ...

if redis.call('HGET', tenant, 'version') ~= expected then return -1 end
local digests = redis.call('SMEMBERS', tenant_keys)
for _, digest in ipairs(digests) do redis.call('DEL', api_key_prefix .. digest) end
redis.call('DEL', tenant_keys)
redis.call('SREM', tenants, name)
if redis.call('HEXISTS', waiting, name) == 0 then redis.call('HDEL', queue_tags, name) end
redis.call('HSET', tenant, unpack(ARGV, FIXED_ARGUMENTS + 1))
redis.call('EXPIRE', tenant, ttl_seconds)
for index = FIXED_KEYS + 1, #KEYS do redis.call('EXPIRE', KEYS[index], ttl_seconds) end
return #digests
