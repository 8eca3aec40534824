-- Delivery queues are scheduled twice: the outbox has tenants by their next turn, `tenant_queues` a tenant's queues by
-- their next check. A queue's name starts with its tenant's and a slash.
local function tenant_of_queue(queue_name) return string.match(queue_name, '^[^/]*') end

-- Schedules a queue's next check: when its first delivery is due and its circuit allows an attempt, or when a
-- lease ends. An empty queue is not checked. Returns the instant, or nil.
local function place_queue(tenant_queues, queue_name, delivery_queue, in_flight, circuit, now, max_concurrency)
  local first = redis.call('ZRANGE', delivery_queue, 0, 0, 'WITHSCORES')[2]
  local lease = redis.call('ZRANGE', in_flight, 0, 0, 'WITHSCORES')[2]
  local stored = redis.call('HMGET', circuit, 'paused_until', 'max_concurrency')
  local at
  if first and redis.call('ZCARD', in_flight) < tonumber(stored[2] or max_concurrency) then
    at = math.max(tonumber(first), tonumber(stored[1] or 0), tonumber(now))
  end
  if lease then at = math.min(at or math.huge, tonumber(lease)) end
  if not at then
    redis.call('ZREM', tenant_queues, queue_name)
    return nil
  end
  redis.call('ZADD', tenant_queues, string.format('%.0f', at), queue_name)
  return string.format('%.0f', at)
end

-- Schedules a queue, and its tenant's turn no later. A turn is not put off here: it may be early, and the claim that
-- finds nothing due then puts it off.
local function reschedule_queue(outbox, queue_name, delivery_queue, in_flight, circuit, now, max_concurrency)
  local tenant_name = tenant_of_queue(queue_name)
  local tenant_queues = NAMES.tenant_queues .. tenant_name
  local at = place_queue(tenant_queues, queue_name, delivery_queue, in_flight, circuit, now, max_concurrency)
  if at then
    redis.call('ZADD', outbox, 'LT', at, tenant_name)
  elseif redis.call('EXISTS', tenant_queues) == 0 then
    redis.call('ZREM', outbox, tenant_name)
  end
end

-- Schedules the next turn of a tenant that had one: behind those that are due now, or when its first queue is due.
local function end_turn(outbox, tenant_name, tenant_queues, now)
  local first = redis.call('ZRANGE', tenant_queues, 0, 0, 'WITHSCORES')[2]
  if first then
    redis.call('ZADD', outbox, string.format('%.0f', math.max(tonumber(first), tonumber(now))), tenant_name)
  else
    redis.call('ZREM', outbox, tenant_name)
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
