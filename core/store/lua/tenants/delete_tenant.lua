-- Deletes a tenant: its API keys now, its record (which its open jobs and their deliveries need) after
-- `ttl_seconds`. Returns the number of revoked keys, or -1 if the record has changed since.
-- Further KEYS expire with the record. Further ARGV: the tenant's fields and values.
-- Its files may be deleted from now on; those of open jobs once these have ended.
-- USES: forget_pause
-- KEYS: tenant tenants tenant_keys queue_tags waiting files tenant_files ...
-- ARGV: expected name api_key_prefix ttl_seconds ...

if redis.call('HGET', tenant, 'version') ~= expected then return -1 end
local digests = redis.call('SMEMBERS', tenant_keys)
for _, digest in ipairs(digests) do redis.call('DEL', api_key_prefix .. digest) end
redis.call('DEL', tenant_keys)
redis.call('SREM', tenants, name)
forget_pause(name)
if redis.call('HEXISTS', waiting, name) == 0 then redis.call('HDEL', queue_tags, name) end
for _, file in ipairs(redis.call('ZRANGE', tenant_files, 0, -1)) do redis.call('ZADD', files, 0, file) end
redis.call('HSET', tenant, unpack(ARGV, FIXED_ARGUMENTS + 1))
redis.call('EXPIRE', tenant, ttl_seconds)
for index = FIXED_KEYS + 1, #KEYS do redis.call('EXPIRE', KEYS[index], ttl_seconds) end
return #digests
