-- Returns the state of the `max_queues` queues that are checked next: { pending, due, in flight, number of
-- paused queues, when the oldest due delivery became due (ms, or '') }. In a paused queue nothing counts as due.
-- Keys of queues are built here, because only the outbox has their names.
-- KEYS: outbox
-- ARGV: now max_queues queue_prefix

local pending, due, in_flight, paused_queues, oldest = 0, 0, 0, 0, nil

for _, queue_name in ipairs(redis.call('ZRANGE', outbox, 0, tonumber(max_queues) - 1)) do
  local delivery_queue = queue_prefix .. queue_name
  pending = pending + redis.call('ZCARD', delivery_queue)
  in_flight = in_flight + redis.call('ZCARD', delivery_queue .. ':in_flight')
  if tonumber(redis.call('HGET', delivery_queue .. ':circuit', 'paused_until') or 0) > tonumber(now) then
    paused_queues = paused_queues + 1
  else
    due = due + redis.call('ZCOUNT', delivery_queue, '-inf', now)
    local first = tonumber(redis.call('ZRANGE', delivery_queue, 0, 0, 'WITHSCORES')[2] or now)
    if first < tonumber(now) then oldest = math.min(oldest or first, first) end
  end
end
return { pending, due, in_flight, paused_queues, oldest and string.format('%.0f', oldest) or '' }
