-- Stores what became of a claimed callback over the version that was read, gives its place in the
-- channel back, and stores the channel's breaker unless somebody changed that meanwhile.
-- Returns { 'stored', 'stale' or 'unknown', whether the breaker was stored (1) or must be learnt anew (0) }.
-- Protects: a result outlives its last callback: a job's record, timeline and list live on for `least`
-- ms. `job_id` is '' for what is about no job.
-- USES: delivery_queue retention
-- KEYS: delivery attempts outbox waiting busy state job timeline job_deliveries
-- ARGV: expected id version doc due_at attempt entry life now least job_id
-- ARGV: channel at_once channel_expected channel_version channel_doc channel_until channel_at_once

local verdict = 'stored'
local held = redis.call('HGET', delivery, 'version')
if not held then verdict = 'unknown' elseif held ~= expected then verdict = 'stale' end
redis.call('ZREM', busy, id)

if verdict == 'stored' then
  redis.call('HSET', delivery, 'version', version, 'doc', doc)
  if due_at ~= '' then redis.call('ZADD', waiting, due_at, id) else redis.call('ZREM', waiting, id) end
end
if verdict ~= 'unknown' and attempt ~= '' then
  redis.call('RPUSH', attempts, attempt)
  redis.call('RPUSHX', timeline, entry)
  redis.call('EXPIRE', delivery, life)
  redis.call('EXPIRE', attempts, life)
end
if job_id ~= '' then
  live_on(job, timeline, job_deliveries, tonumber(least))
  if verdict == 'stored' and due_at == '' then release(job, timeline, job_deliveries, job_id, now, tonumber(least)) end
end

local learnt = move(state, channel_expected, channel_version, channel_doc, channel_until, channel_at_once, life)
place(outbox, channel, waiting, busy, state, now, at_once)
return { verdict, learnt and 1 or 0 }
