-- Stores a tenant's next record over the version that was read, and dispatches jobs to the slots that a raised
-- limit frees. Further ARGV: the tenant's fields and values. Returns 1 or 0.
-- USES: zadd_batch concurrency fair_queue
-- FLAGS: allow-oom
-- KEYS: tenant tenants
-- ARGV: expected name now message_template message_ttl wake_due_at ...

if redis.call('HGET', tenant, 'version') ~= expected then return 0 end
if redis.call('SISMEMBER', tenants, name) == 0 then return 0 end
redis.call('HSET', tenant, unpack(ARGV, FIXED_ARGUMENTS + 1))
refresh_tenant(name)
dispatch(100, { now = now, due_at = wake_due_at, template = message_template, ttl = message_ttl })
return 1
