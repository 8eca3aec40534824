-- Returns a page of a tenant's batches, newest first, starting after batch `after`:
-- { 'ok', flat rows of doc, finished_at and counts, cursor } or { the error of the API key }.
-- USES: authenticate authenticate_call
-- FLAGS: allow-oom
-- KEYS: api_key tenant batch_index
-- ARGV: now tenant_name scope address after limit

local auth_error = authenticate_call(api_key, tenant, tenant_name, scope, now, address, 'calls-per-minute')
if auth_error then return { auth_error } end
local start = 0
if after ~= '' then
  local rank = redis.call('ZREVRANK', batch_index, after)
  if not rank then return { 'ok', {}, '' } end
  start = rank + 1
end
local ids, flat = redis.call('ZREVRANGE', batch_index, start, start + limit - 1), {}
for _, id in ipairs(ids) do
  local stored = redis.call('HMGET', NAMES.batch .. id, 'doc', 'finished_at', 'in_queue', 'in_progress',
    'completed', 'failed', 'cancelled')
  if stored[1] then
    for position = 1, 7 do flat[#flat + 1] = stored[position] or '' end
  end
end
return { 'ok', flat, #ids == tonumber(limit) and ids[#ids] or '' }
