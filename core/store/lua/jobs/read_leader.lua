-- The job that a follower follows now. Returns { doc, polls, output }, or nothing for who follows none.
-- KEYS: job

local leader = redis.call('HGET', job, 'leader')
if not leader then return {} end
return redis.call('HMGET', NAMES.job .. leader, 'doc', 'polls', 'output')
