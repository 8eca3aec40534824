-- Changes limits of the whole gateway and of models, and dispatches jobs to the slots that this frees.
-- Further ARGV: names and values, alternating. '' removes a limit; limits without a name here stay.
-- USES: zadd_batch concurrency fair_queue
-- FLAGS: allow-oom
-- KEYS: limits
-- ARGV: now message_template message_ttl wake_due_at ...

for position = FIXED_ARGUMENTS + 1, #ARGV, 2 do
  if ARGV[position + 1] == '' then
    redis.call('HDEL', limits, ARGV[position])
  else
    redis.call('HSET', limits, ARGV[position], ARGV[position + 1])
  end
end
for position = FIXED_ARGUMENTS + 1, #ARGV, 2 do
  local model = string.match(ARGV[position], '^model:(.*)$')
  if model then refresh_model(model) end
end
dispatch(100, { now = now, due_at = wake_due_at, template = message_template, ttl = message_ttl })
return 1
