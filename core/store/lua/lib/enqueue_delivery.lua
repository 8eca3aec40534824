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

-- New deliveries: KEYS and ARGV from these places on are theirs. Those that tell of a job's step stand in
-- its list too; `job_deliveries` nil: they are about no job.
local function post_all(outbox, job_deliveries, key_position, position)
  for index = key_position + 1, #KEYS, 3 do
    post(outbox, KEYS[index], KEYS[index + 1], KEYS[index + 2], {
      id = ARGV[position + 1], version = 1, doc = ARGV[position + 2], due = ARGV[position + 3],
      created = ARGV[position + 4], channel = ARGV[position + 5], life = ARGV[position + 6],
      forget = ARGV[position + 7],
    })
    if job_deliveries then redis.call('RPUSH', job_deliveries, ARGV[position + 1]) end
    position = position + 7
  end
end
