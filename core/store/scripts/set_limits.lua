-- Puts new limits in the place of all earlier ones and hands out what they free. Extra ARGV are names
-- and values in turn. Returns 1.
-- USES: names ring dispatch
-- KEYS: limits
-- ARGV: now message_template message_ttl ring_due_at ...

local before = redis.call('HGETALL', limits)
redis.call('DEL', limits)
if #ARGV > 4 then redis.call('HSET', limits, unpack(ARGV, 5)) end
for position = 1, #before, 2 do
  local model = string.match(before[position], '^model:(.*)$')
  if model then unpark(model, 100) end
end
dispatch(100, { now = now, due_at = ring_due_at, template = message_template, ttl = message_ttl })
return 1
