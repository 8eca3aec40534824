-- Stores a circuit breaker for submits over the version that was read; an absent one has version 0. '' as `doc`
-- removes it, so that the hash has no field for each model that ever had problems. Returns 1 or 0.
-- FLAGS: allow-oom
-- KEYS: circuits
-- ARGV: name expected version doc

local stored = redis.call('HGET', circuits, name)
if (stored and string.match(stored, '^%d+') or '0') ~= expected then return 0 end
if doc == '' then
  redis.call('HDEL', circuits, name)
else
  redis.call('HSET', circuits, name, version .. ' ' .. doc)
end
return 1
