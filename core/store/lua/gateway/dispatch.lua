-- Dispatches waiting jobs to free slots, at most 100, and ends the pauses of deleted tenants. Returns the number of
-- slots in use.
-- FLAGS: allow-oom
-- KEYS: running
-- USES: zadd_batch concurrency fair_queue forget_pause
-- ARGV: now message_template message_ttl wake_due_at

for _, target in ipairs(redis.call('HKEYS', NAMES.pauses)) do
  local name = string.match(target, '^tenant:(.*)$')
  if name then forget_pause(name) end
end
dispatch(100, { now = now, due_at = wake_due_at, template = message_template, ttl = message_ttl })
return redis.call('HGET', running, 'all') or '0'
