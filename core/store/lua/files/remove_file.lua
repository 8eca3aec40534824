-- Removes the record of a file whose content is then deleted. With `expired`, only if it may be deleted by now and no
-- job that uses it exists; it is otherwise checked again at `next_check` (ms). On demand, and if the tenant was
-- deleted, only jobs that have not ended keep it. Returns 'removed', 'not_found' or 'in_use'.
-- KEYS: tenants file file_users files tenant_files file_contents file_usage
-- ARGV: tenant_name id now expired next_check

local ENDED = { succeeded = true, failed = true, cancelled = true, expired = true }

local stored = redis.call('HMGET', file, 'tenant', 'sha256', 'bytes', 'expires_at', 'is_input')
if stored[1] ~= tenant_name then
  if not stored[1] then redis.call('ZREM', files, id) end
  return 'not_found'
end
local keeps_ended = expired == '1' and redis.call('SISMEMBER', tenants, tenant_name) == 1
if keeps_ended and tonumber(stored[4]) > tonumber(now) then return 'in_use' end

local function is_used(job_id)
  local doc, input = unpack(redis.call('HMGET', NAMES.job .. job_id, 'doc', 'input'))
  -- A part of an input goes with the input, which may go before the job.
  if not doc or (stored[5] == '1' and not input) then
    redis.call('SREM', file_users, job_id)
    return false
  end
  return keeps_ended or not ENDED[cjson.decode(doc).state or 'queued']
end

for _, job_id in ipairs(redis.call('SMEMBERS', file_users)) do
  if is_used(job_id) then
    if expired == '1' then
      redis.call('HSET', file, 'expires_at', next_check)
      redis.call('ZADD', files, next_check, id)
    end
    return 'in_use'
  end
end
redis.call('DEL', file, file_users)
redis.call('ZREM', files, id)
redis.call('ZREM', tenant_files, id)
if redis.call('HGET', file_contents, stored[2]) == id then redis.call('HDEL', file_contents, stored[2]) end
if redis.call('EXISTS', file_usage) == 1 then redis.call('HINCRBY', file_usage, 'bytes', -tonumber(stored[3])) end
return 'removed'
