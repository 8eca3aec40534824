-- How the outbox stands: of the `most` channels that are looked at next, how many callbacks are to
-- come, are due now, are in couriers' hands; how many channels are held back; when the first callback
-- that is due became so (ms, or ''). What waits for a held-back channel is not due.
-- Keys of channels are made here, since only the outbox knows their names.
-- KEYS: outbox
-- ARGV: now most channel_prefix

local pending, due, busy, held_back, oldest = 0, 0, 0, 0, nil

for _, channel in ipairs(redis.call('ZRANGE', outbox, 0, tonumber(most) - 1)) do
  local waiting = channel_prefix .. channel
  pending = pending + redis.call('ZCARD', waiting)
  busy = busy + redis.call('ZCARD', waiting .. ':busy')
  if tonumber(redis.call('HGET', waiting .. ':state', 'until') or 0) > tonumber(now) then
    held_back = held_back + 1
  else
    due = due + redis.call('ZCOUNT', waiting, '-inf', now)
    local first = tonumber(redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2] or now)
    if first < tonumber(now) then oldest = math.min(oldest or first, first) end
  end
end
return { pending, due, busy, held_back, oldest and string.format('%.0f', oldest) or '' }
