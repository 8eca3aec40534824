-- Puts new limits in the place of all earlier ones and hands out what they free. Extra ARGV are names
-- and values in turn. Returns 1.
-- USES: bulk slots lanes
-- KEYS: limits
-- ARGV: now message_template message_ttl ring_due_at ...

local touched = redis.call('HKEYS', limits)
redis.call('DEL', limits)
for position = 5, #ARGV, 2 do
  redis.call('HSET', limits, ARGV[position], ARGV[position + 1])
  touched[#touched + 1] = ARGV[position]
end
for _, name in ipairs(touched) do
  local model = string.match(name, '^model:(.*)$')
  if model then show_model(model) end
end
dispatch(100, { now = now, due_at = ring_due_at, template = message_template, ttl = message_ttl })
return 1
