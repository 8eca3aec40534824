-- Makes all jobs of an index due now. A lost wake-up costs only time: they are due at intervals anyway.
-- FLAGS: allow-oom
-- KEYS: index due
-- ARGV: now

local ids = redis.call('ZRANGE', index, 0, -1)
for first = 1, #ids, 500 do
  local scores = {}
  for position = first, math.min(first + 499, #ids) do
    scores[#scores + 1] = now
    scores[#scores + 1] = ids[position]
  end
  redis.call('ZADD', due, 'XX', unpack(scores))
end
return #ids
