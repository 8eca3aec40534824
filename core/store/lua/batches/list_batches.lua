-- A page of a tenant's batches for a key's holder, newest first, from the one after `after`.
-- Returns { verdict, flat rows of doc, finished_at and counts, the last id that was looked at }.
-- USES: authenticate
-- KEYS: api_key tenant listed
-- ARGV: now tenant_name scope after limit

local refusal = authenticate(api_key, redis.call('HGET', tenant, 'disabled'), tenant_name, scope, now)
if refusal then return { refusal } end
local start = 0
if after ~= '' then
  local rank = redis.call('ZREVRANK', listed, after)
  if not rank then return { 'ok', {}, '' } end
  start = rank + 1
end
local ids, flat = redis.call('ZREVRANGE', listed, start, start + limit - 1), {}
for _, id in ipairs(ids) do
  local held = redis.call('HMGET', NAMES.batch .. id, 'doc', 'finished_at', 'in_queue', 'in_progress',
    'completed', 'failed', 'cancelled')
  if held[1] then
    for position = 1, 7 do flat[#flat + 1] = held[position] or '' end
  end
end
return { 'ok', flat, #ids == tonumber(limit) and ids[#ids] or '' }
