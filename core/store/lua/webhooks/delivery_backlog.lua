-- Returns the state of the `max_queues` queues that are checked next: { pending, due, in flight, number of
-- paused queues, when the oldest due delivery became due (ms, or ''), number of all queues }. In a paused queue nothing
-- counts as due.
-- Keys of queues are built here, because only the outbox has their names.
-- FLAGS: no-writes
-- KEYS: outbox
-- ARGV: now max_queues

local pending, due, in_flight, paused_queues, oldest, queues = 0, 0, 0, 0, nil, 0

local function add_queue(delivery_queue)
  pending = pending + redis.call('ZCARD', delivery_queue)
  in_flight = in_flight + redis.call('ZCARD', delivery_queue .. ':in_flight')
  if tonumber(redis.call('HGET', delivery_queue .. ':circuit', 'paused_until') or 0) > tonumber(now) then
    paused_queues = paused_queues + 1
    return
  end
  due = due + redis.call('ZCOUNT', delivery_queue, '-inf', now)
  local first = tonumber(redis.call('ZRANGE', delivery_queue, 0, 0, 'WITHSCORES')[2] or now)
  if first < tonumber(now) then oldest = math.min(oldest or first, first) end
end

local left = tonumber(max_queues)
for _, tenant_name in ipairs(redis.call('ZRANGE', outbox, 0, tonumber(max_queues) - 1)) do
  local tenant_queues = NAMES.tenant_queues .. tenant_name
  queues = queues + redis.call('ZCARD', tenant_queues)
  local read = left > 0 and redis.call('ZRANGE', tenant_queues, 0, left - 1) or {}
  for _, queue_name in ipairs(read) do add_queue(NAMES.delivery_queue .. queue_name) end
  left = left - #read
end
return { pending, due, in_flight, paused_queues, oldest and string.format('%.0f', oldest) or '', queues }
