-- Changes a job's score in the due index if the record still has the expected version. Returns 1 or 0.
-- FLAGS: allow-oom
-- KEYS: job due
-- ARGV: expected id due_at polled

if redis.call('HGET', job, 'version') ~= expected then return 0 end
redis.call('ZADD', due, 'XX', due_at, id)
if polled == '1' then redis.call('HINCRBY', job, 'polls', 1) end
return 1
