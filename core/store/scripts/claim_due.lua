-- Hands out what is due in an index of records, oldest first, each under a lease.
-- The lease is the new score: whoever settles later must find it unchanged.
-- Returns the documents. Record keys are made here, since only the index knows the ids.
-- KEYS: index
-- ARGV: prefix now lease limit

local documents = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, limit)) do
  local doc = redis.call('HGET', prefix .. id, 'doc')
  if doc then
    redis.call('ZADD', index, lease, id)
    documents[#documents + 1] = doc
  else
    redis.call('ZREM', index, id)
  end
end
return documents
