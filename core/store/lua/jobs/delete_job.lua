-- Takes a job that has ended out of everything, over the version that was read; what it cost stays
-- booked. Callbacks about it go with it once none is to be tried any more.
-- Returns 'deleted', 'stale' (somebody was first), 'awaited' (a callback or an errand is to come, or
-- others have not taken its result yet) or 'unknown'.
-- USES: job_indexes retention dedup_index followers
-- KEYS: job timeline job_deliveries tenant_deliveries
-- ARGV: expected id tenant_name

local version = redis.call('HGET', job, 'version')
if not version then return 'unknown' end
if version ~= expected then return 'stale' end
if redis.call('ZSCORE', NAMES.due, id) or is_awaited(job_deliveries) or is_followed(id) then
  return 'awaited'
end

for _, delivery in ipairs(redis.call('LRANGE', job_deliveries, 0, -1)) do
  redis.call('DEL', NAMES.delivery .. delivery, NAMES.delivery .. delivery .. ':attempts')
  redis.call('ZREM', tenant_deliveries, delivery)
end
redis.call('DEL', job, timeline, job_deliveries)
unlist(tenant_name, id)
return 'deleted'
