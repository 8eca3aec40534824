-- Dispatches waiting jobs to free slots, at most 100. Returns the number of slots in use.
-- FLAGS: allow-oom
-- KEYS: running
-- USES: zadd_batch concurrency fair_queue
-- ARGV: now message_template message_ttl wake_due_at

dispatch(100, { now = now, due_at = wake_due_at, template = message_template, ttl = message_ttl })
return redis.call('HGET', running, 'all') or '0'
