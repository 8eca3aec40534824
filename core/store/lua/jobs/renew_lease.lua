-- Moves a job's place in the due index while its record still is the version that the caller holds.
-- Returns 1, or 0 when it is somebody else's now.
-- KEYS: job due
-- ARGV: expected id due_at polled

if redis.call('HGET', job, 'version') ~= expected then return 0 end
redis.call('ZADD', due, 'XX', due_at, id)
if polled == '1' then redis.call('HINCRBY', job, 'polls', 1) end
return 1
