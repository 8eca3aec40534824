-- Registers a job as user of files of its tenant, which are then kept as long as the job, but at least until
-- `kept_until` (ms). Nothing is registered if one of them is missing or another tenant's. Returns 1, or 0.
-- Further ARGV: ids of the files.
-- KEYS: files
-- ARGV: tenant_name job_id kept_until ...

for index = FIXED_ARGUMENTS + 1, #ARGV do
  if redis.call('HGET', NAMES.file .. ARGV[index], 'tenant') ~= tenant_name then return 0 end
end
for index = FIXED_ARGUMENTS + 1, #ARGV do
  local file = NAMES.file .. ARGV[index]
  redis.call('SADD', file .. ':users', job_id)
  if tonumber(redis.call('HGET', file, 'expires_at')) < tonumber(kept_until) then
    redis.call('HSET', file, 'expires_at', kept_until)
    redis.call('ZADD', files, kept_until, ARGV[index])
  end
end
return 1
