-- Claims due deliveries, in turn over the queues whose circuit allows it, each with a lease.
-- Returns the deliveries' documents, each followed by its queue's circuit ('' for a new one).
-- Guarantees: an endpoint that does not answer uses up its own concurrency only, and delays no other.
-- Keys of queues and deliveries are built here, because only the outbox has their names.
-- USES: delivery_queue
-- KEYS: outbox
-- ARGV: now lease limit max_concurrency queue_prefix delivery_prefix

local ready = redis.call('ZRANGEBYSCORE', outbox, '-inf', now, 'LIMIT', 0, limit)
local share = math.ceil(tonumber(limit) / math.max(#ready, 1))
local answer = {}

for _, queue_name in ipairs(ready) do
  local delivery_queue = queue_prefix .. queue_name
  local in_flight, circuit = delivery_queue .. ':in_flight', delivery_queue .. ':circuit'
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', in_flight, '-inf', now)) do
    redis.call('ZREM', in_flight, id)
    redis.call('ZADD', delivery_queue, now, id)
  end
  local stored = redis.call('HMGET', circuit, 'paused_until', 'max_concurrency', 'doc')
  local available = tonumber(stored[2] or max_concurrency) - redis.call('ZCARD', in_flight)
  local take = math.min(share, available, tonumber(limit) - #answer / 2)
  if take > 0 and tonumber(stored[1] or 0) <= tonumber(now) then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', delivery_queue, '-inf', now, 'LIMIT', 0, take)) do
      local doc = redis.call('HGET', delivery_prefix .. id, 'doc')
      redis.call('ZREM', delivery_queue, id)
      if doc then
        redis.call('ZADD', in_flight, lease, id)
        answer[#answer + 1] = doc
        answer[#answer + 1] = stored[3] or ''
      end
    end
  end
  reschedule_queue(outbox, queue_name, delivery_queue, in_flight, circuit, now, max_concurrency)
end
return answer
