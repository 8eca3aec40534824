-- Hands out due callbacks, each under a lease, in turns over the channels that may be used now.
-- Returns the callbacks' documents and, after each, its channel's breaker ('' for one as new).
-- Protects: a dead receiver holds no more than its own channel's places, and delays nobody else.
-- Keys of channels and callbacks are made here, since only the outbox knows their names.
-- USES: delivery_queue
-- KEYS: outbox
-- ARGV: now lease room at_once channel_prefix delivery_prefix

local ready = redis.call('ZRANGEBYSCORE', outbox, '-inf', now, 'LIMIT', 0, room)
local share = math.ceil(tonumber(room) / math.max(#ready, 1))
local answer = {}

for _, channel in ipairs(ready) do
  local waiting = channel_prefix .. channel
  local busy, state = waiting .. ':busy', waiting .. ':state'
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', busy, '-inf', now)) do
    redis.call('ZREM', busy, id)
    redis.call('ZADD', waiting, now, id)
  end
  local held = redis.call('HMGET', state, 'until', 'at_once', 'doc')
  local free = tonumber(held[2] or at_once) - redis.call('ZCARD', busy)
  local take = math.min(share, free, tonumber(room) - #answer / 2)
  if take > 0 and tonumber(held[1] or 0) <= tonumber(now) then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', waiting, '-inf', now, 'LIMIT', 0, take)) do
      local doc = redis.call('HGET', delivery_prefix .. id, 'doc')
      redis.call('ZREM', waiting, id)
      if doc then
        redis.call('ZADD', busy, lease, id)
        answer[#answer + 1] = doc
        answer[#answer + 1] = held[3] or ''
      end
    end
  end
  place(outbox, channel, waiting, busy, state, now, at_once)
end
return answer
