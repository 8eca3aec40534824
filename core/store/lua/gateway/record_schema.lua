-- Notes that data of the schema `written` may be in the store. It never goes down.
-- FLAGS: allow-oom
-- KEYS: store
-- ARGV: written

local held = tonumber(redis.call('HGET', store, 'schema') or '0')
if held and held < tonumber(written) then redis.call('HSET', store, 'schema', written) end
return 1
