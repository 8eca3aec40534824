-- Returns a job: { 'ok', doc, polls, output, timeline, delivery ids }, { 'not_found' } or { the error of the API
-- key }. Parts that `depth` (status, result or all) does not include are empty.
-- USES: authenticate authenticate_call
-- A job of another tenant takes the same path as one that does not exist.
-- FLAGS: allow-oom
-- KEYS: api_key tenant job timeline job_deliveries tenant_jobs
-- ARGV: now tenant_name scope address rate depth id

local auth_error = authenticate_call(api_key, tenant, tenant_name, scope, now, address, rate)
if auth_error then return { auth_error } end
if not redis.call('ZSCORE', tenant_jobs, id) then return { 'not_found' } end
local stored = redis.call('HMGET', job, 'doc', 'polls')
if not stored[1] then return { 'not_found' } end
local answer = { 'ok', stored[1], stored[2] or '0', '', {}, {} }
if depth ~= 'status' then answer[4] = redis.call('HGET', job, 'output') or '' end
if depth == 'all' then
  answer[5] = redis.call('LRANGE', timeline, 0, -1)
  answer[6] = redis.call('LRANGE', job_deliveries, 0, -1)
end
return answer
