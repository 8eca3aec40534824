-- Stores what an attempt at a callback met, over the version that was read.
-- Returns 'stored', 'stale' or 'unknown'.
-- KEYS: delivery deliveries attempts timeline
-- ARGV: expected id version doc due_at attempt entry ttl

local held = redis.call('HGET', delivery, 'version')
if not held then return 'unknown' end
if held ~= expected then return 'stale' end
redis.call('HSET', delivery, 'version', version, 'doc', doc)
if due_at == '' then redis.call('ZREM', deliveries, id) else redis.call('ZADD', deliveries, due_at, id) end
redis.call('RPUSH', attempts, attempt)
redis.call('RPUSHX', timeline, entry)
redis.call('EXPIRE', delivery, ttl)
redis.call('EXPIRE', attempts, ttl)
return 'stored'
