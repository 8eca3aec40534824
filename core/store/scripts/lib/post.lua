-- Write a callback's record, list it for its tenant, and put it into its channel if it is due at all.
-- The channel is then looked at no later than that; whether it may leave, the claim decides.
local function post(outbox, record, waiting, listed, posted)
  redis.call('HSET', record, 'version', posted.version, 'doc', posted.doc)
  redis.call('EXPIRE', record, posted.life)
  redis.call('ZADD', listed, posted.created, posted.id)
  redis.call('ZREMRANGEBYSCORE', listed, '-inf', posted.forget)
  redis.call('EXPIRE', listed, posted.life)
  if posted.due ~= '' then
    redis.call('ZADD', waiting, posted.due, posted.id)
    redis.call('ZADD', outbox, 'LT', posted.due, posted.channel)
  end
end
