-- Stores a tenant's next record over the version that was read. Extra ARGV are its fields and values.
-- A tenant whose own cap was raised takes its turn again. Returns 1 or 0.
-- USES: names dispatch
-- KEYS: tenant
-- ARGV: expected name now message_template message_ttl ring_due_at ...

if redis.call('HGET', tenant, 'version') ~= expected then return 0 end
redis.call('HSET', tenant, unpack(ARGV, 7))
if not tenant_full(name) then stand_in_turns(name) end
dispatch(100, { now = now, due_at = ring_due_at, template = message_template, ttl = message_ttl })
return 1
