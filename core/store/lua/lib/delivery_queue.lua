-- Note when a channel must be looked at next: when its first callback is due and may leave, or when
-- a courier's lease runs out. A channel with nothing in it is not looked at.
local function place(outbox, channel, waiting, busy, state, now, at_once)
  local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
  local lease = redis.call('ZRANGE', busy, 0, 0, 'WITHSCORES')[2]
  local held = redis.call('HMGET', state, 'until', 'at_once')
  local at
  if first and redis.call('ZCARD', busy) < tonumber(held[2] or at_once) then
    at = math.max(tonumber(first), tonumber(held[1] or 0), tonumber(now))
  end
  if lease then at = math.min(at or math.huge, tonumber(lease)) end
  if at then
    redis.call('ZADD', outbox, string.format('%.0f', at), channel)
  else
    redis.call('ZREM', outbox, channel)
  end
end

-- Store a channel's breaker over the version that was read; absent counts as version 0.
local function move(state, expected, version, doc, until_at, at_once, life)
  if (redis.call('HGET', state, 'version') or '0') ~= expected then return false end
  if version == expected then return true end
  redis.call('HSET', state, 'version', version, 'doc', doc)
  if until_at == '' then redis.call('HDEL', state, 'until')
  else redis.call('HSET', state, 'until', until_at) end
  if at_once == '' then redis.call('HDEL', state, 'at_once')
  else redis.call('HSET', state, 'at_once', at_once) end
  redis.call('EXPIRE', state, life)
  return true
end
