-- Claims due deliveries, each with a lease: in turn over the tenants, and in turn over each tenant's queues whose
-- circuit allows it. Returns of each delivery: its document, its queue's circuit ('' for a new one), its id, its
-- queue's name.
-- Further ARGV: pairs of a tenant and the number of deliveries that this worker has in flight for it.
-- Guarantees: what is in flight for a tenant is at most twice what stays free for the others, so that a tenant
-- whose receivers do not answer delays no other; the same holds for an endpoint within its tenant's share.
-- Keys of queues and deliveries are built here, because only the outbox has their names.
-- USES: delivery_queue
-- FLAGS: allow-oom
-- KEYS: outbox
-- ARGV: now lease limit max_concurrency ...

local available, answer = tonumber(limit), {}
local in_flight_of, held_tenants = {}, 0
for index = FIXED_ARGUMENTS + 1, #ARGV, 2 do
  in_flight_of[ARGV[index]], held_tenants = tonumber(ARGV[index + 1]), held_tenants + 1
end

-- How many of `free` places may be added to `taken` so that all taken ones are at most twice what stays free.
local function fair_share(free, taken) return math.max(math.ceil((2 * free - taken) / 3), 0) end

local function requeue_lost(delivery_queue, in_flight)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', in_flight, '-inf', now)) do
    redis.call('ZREM', in_flight, id)
    redis.call('ZADD', delivery_queue, now, id)
  end
end

local function claim(queue_name, delivery_queue, in_flight, circuit_doc, take)
  local claimed = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', delivery_queue, '-inf', now, 'LIMIT', 0, take)) do
    local doc = redis.call('HGET', NAMES.delivery .. id, 'doc')
    redis.call('ZREM', delivery_queue, id)
    if doc then
      redis.call('ZADD', in_flight, lease, id)
      answer[#answer + 1], answer[#answer + 2] = doc, circuit_doc or ''
      answer[#answer + 1], answer[#answer + 2] = id, queue_name
      claimed = claimed + 1
    end
  end
  return claimed
end

-- Returns how many were claimed, at most `turn`. `share`: how many the tenant might take, were it alone.
local function claim_from_queue(tenant_queues, queue_name, turn, share)
  local delivery_queue = NAMES.delivery_queue .. queue_name
  local in_flight, circuit = delivery_queue .. ':in_flight', delivery_queue .. ':circuit'
  requeue_lost(delivery_queue, in_flight)
  local stored = redis.call('HMGET', circuit, 'paused_until', 'max_concurrency', 'doc')
  local held, claimed = redis.call('ZCARD', in_flight), 0
  local take = math.min(turn, fair_share(share, held), tonumber(stored[2] or max_concurrency) - held)
  if take > 0 and tonumber(stored[1] or 0) <= tonumber(now) then
    claimed = claim(queue_name, delivery_queue, in_flight, stored[3], take)
  end
  place_queue(tenant_queues, queue_name, delivery_queue, in_flight, circuit, now, max_concurrency)
  return claimed
end

local function claim_from_tenant(tenant_name, turn, share)
  local tenant_queues = NAMES.tenant_queues .. tenant_name
  local due = redis.call('ZRANGEBYSCORE', tenant_queues, '-inf', now, 'LIMIT', 0, limit)
  local queue_turn = math.ceil(turn / math.max(#due, 1))
  for _, queue_name in ipairs(due) do
    if turn <= 0 then break end
    local claimed = claim_from_queue(tenant_queues, queue_name, math.min(queue_turn, turn), share)
    turn, available = turn - claimed, available - claimed
  end
  end_turn(outbox, tenant_name, tenant_queues, now)
end

-- Only tenants with deliveries in flight can have used up their share: beyond these, `limit` tenants are enough.
local ready = redis.call('ZRANGEBYSCORE', outbox, '-inf', now, 'LIMIT', 0, available + held_tenants)
local shares, sharers = {}, 0
for _, tenant_name in ipairs(ready) do
  shares[tenant_name] = fair_share(available, in_flight_of[tenant_name] or 0)
  if shares[tenant_name] > 0 then sharers = sharers + 1 end
end
local turn = math.ceil(available / math.max(sharers, 1))
for _, tenant_name in ipairs(ready) do
  local share = shares[tenant_name]
  if share > 0 and available > 0 then claim_from_tenant(tenant_name, math.min(turn, share, available), share) end
end
return answer
