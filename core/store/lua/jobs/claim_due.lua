-- Claims due members of an index, oldest first, and returns their ids, each followed by its document. A claimed
-- member's score becomes the end of its lease, so that no other worker gets it before.
-- `rate_limit_name`: the global limit on claims per second; '' for none.
-- The record keys are built here, because only the index has the ids.
-- USES: gcra
-- FLAGS: allow-oom
-- KEYS: index limits rate
-- ARGV: prefix now lease limit rate_limit_name

local ids = redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, limit)
local per_second = rate_limit_name ~= '' and tonumber(redis.call('HGET', limits, rate_limit_name) or '')
local granted = #ids
if per_second and granted > 0 then granted = take_tokens(rate, per_second, granted, tonumber(now)) end

local claimed = {}
for position = 1, granted do
  local id = ids[position]
  local doc = redis.call('HGET', prefix .. id, 'doc')
  if doc then
    redis.call('ZADD', index, lease, id)
    claimed[#claimed + 1] = id
    claimed[#claimed + 1] = doc
  else
    redis.call('ZREM', index, id)
    if index == NAMES.archives then redis.call('ZREM', NAMES.unarchived, id) end
  end
end
return claimed
