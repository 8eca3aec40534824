-- Removes the record of a file whose content is then deleted. With `expired`, only if it may be deleted by now and no
-- job that uses it exists; it is otherwise checked again at `next_check` (ms). On demand, and if the tenant was
-- deleted, only jobs that have not ended keep it; on demand also those whose output it is. Returns 'removed', 'not_found' or 'in_use'.
-- FLAGS: allow-oom
-- KEYS: tenants file file_users files tenant_files file_contents file_usage
-- ARGV: tenant_name id now expired next_check

local ENDED = { succeeded = true, failed = true, cancelled = true, expired = true }

local stored = redis.call('HMGET', file, 'tenant', 'sha256', 'bytes', 'expires_at', 'is_input')
if stored[1] ~= tenant_name then
  if not stored[1] then redis.call('ZREM', files, id) end
  return 'not_found'
end
local is_owned = redis.call('SISMEMBER', tenants, tenant_name) == 1
local keeps_ended = expired == '1' and is_owned
if keeps_ended and tonumber(stored[4]) > tonumber(now) then return 'in_use' end

local function is_output_of(job)
  for _, output in ipairs(type(job.outputs) == 'table' and job.outputs or {}) do
    if output.file_id == id then return true end
  end
  return false
end

local function is_used(job_id)
  local doc, input = unpack(redis.call('HMGET', NAMES.job .. job_id, 'doc', 'input'))
  -- A part of an input goes with the input, which may go before the job.
  if not doc or (stored[5] == '1' and not input) then
    redis.call('SREM', file_users, job_id)
    return false
  end
  if keeps_ended then return true end
  local job = cjson.decode(doc)
  return not ENDED[job.state or 'queued'] or (is_owned and is_output_of(job))
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
