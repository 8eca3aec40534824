-- Schedules a queue's next check: when its first delivery is due and its circuit allows an attempt, or when a
-- lease ends. An empty queue is not checked.
local function reschedule_queue(outbox, queue_name, delivery_queue, in_flight, circuit, now, max_concurrency)
  local first = redis.call('ZRANGE', delivery_queue, 0, 0, 'WITHSCORES')[2]
  local lease = redis.call('ZRANGE', in_flight, 0, 0, 'WITHSCORES')[2]
  local stored = redis.call('HMGET', circuit, 'paused_until', 'max_concurrency')
  local at
  if first and redis.call('ZCARD', in_flight) < tonumber(stored[2] or max_concurrency) then
    at = math.max(tonumber(first), tonumber(stored[1] or 0), tonumber(now))
  end
  if lease then at = math.min(at or math.huge, tonumber(lease)) end
  if at then
    redis.call('ZADD', outbox, string.format('%.0f', at), queue_name)
  else
    redis.call('ZREM', outbox, queue_name)
  end
end

-- Stores a circuit over the version that was read; an absent one has version 0.
local function store_circuit(circuit, expected, version, doc, until_at, max_concurrency, ttl_seconds)
  if (redis.call('HGET', circuit, 'version') or '0') ~= expected then return false end
  if version == expected then return true end
  redis.call('HSET', circuit, 'version', version, 'doc', doc)
  if until_at == '' then redis.call('HDEL', circuit, 'paused_until')
  else redis.call('HSET', circuit, 'paused_until', until_at) end
  if max_concurrency == '' then redis.call('HDEL', circuit, 'max_concurrency')
  else redis.call('HSET', circuit, 'max_concurrency', max_concurrency) end
  redis.call('EXPIRE', circuit, ttl_seconds)
  return true
end
