-- Hands out what is due in an index of records, oldest first, each under a lease.
-- The lease is the new score: whoever settles later must find it unchanged.
-- `rate_limit_name` names the global limit on how many may be handed out a second; empty: none.
-- Returns the documents. Record keys are made here, since only the index knows the ids.
-- USES: gcra
-- KEYS: index limits rate
-- ARGV: prefix now lease limit rate_limit_name

local ids = redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, limit)
local per_second = rate_limit_name ~= '' and tonumber(redis.call('HGET', limits, rate_limit_name) or '')
local granted = #ids
if per_second and granted > 0 then granted = take_tokens(rate, per_second, granted, tonumber(now)) end

local documents = {}
for position = 1, granted do
  local id = ids[position]
  local doc = redis.call('HGET', prefix .. id, 'doc')
  if doc then
    redis.call('ZADD', index, lease, id)
    documents[#documents + 1] = doc
  else
    redis.call('ZREM', index, id)
  end
end
return documents
