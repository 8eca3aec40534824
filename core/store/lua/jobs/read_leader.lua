-- Returns { doc, polls, output } of the job that a follower waits for, or {} if it waits for none.
-- FLAGS: no-writes
-- KEYS: job

local leader = redis.call('HGET', job, 'leader')
if not leader then return {} end
return redis.call('HMGET', NAMES.job .. leader, 'doc', 'polls', 'output')
