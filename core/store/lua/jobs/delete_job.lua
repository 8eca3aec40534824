-- Deletes a finished job with its deliveries and its cached result, over the version that was read. Its usage stays counted.
-- Returns 'deleted', 'conflict' (it has changed since), 'has_pending_work' (a delivery, its cost, its late result
-- or a follower still needs it) or 'not_found'.
-- USES: stored_bytes job_indexes retention dedup_index followers
-- FLAGS: allow-oom
-- KEYS: job timeline job_deliveries tenant_deliveries
-- ARGV: expected id tenant_name

local version = redis.call('HGET', job, 'version')
if not version then return 'not_found' end
if version ~= expected then return 'conflict' end
if redis.call('ZSCORE', NAMES.due, id) or has_pending_deliveries(job_deliveries) or has_followers(id) then
  return 'has_pending_work'
end

for _, delivery in ipairs(redis.call('LRANGE', job_deliveries, 0, -1)) do
  redis.call('DEL', NAMES.delivery .. delivery, NAMES.delivery .. delivery .. ':attempts')
  redis.call('ZREM', tenant_deliveries, delivery)
end
local dedup_key = redis.call('HGET', job, 'dedup_key')
if dedup_key then forget_result(dedup_key, id) end
redis.call('DEL', job, timeline, job_deliveries)
redis.call('ZREM', NAMES.archives, id)
redis.call('ZREM', NAMES.unarchived, id)
remove_from_indexes(tenant_name, id)
return 'deleted'
