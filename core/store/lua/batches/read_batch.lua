-- Returns a batch with some of its items: { 'ok', doc, finished_at, counts, items, docs of their jobs },
-- { 'unwritten' } if jobs of it are still to be written, { 'not_found' } or { the error of the API key }. The doc of an expired job is ''.
-- USES: authenticate authenticate_call
-- A batch of another tenant takes the same path as one that does not exist.
-- FLAGS: allow-oom
-- KEYS: api_key tenant record items tenant_batches
-- ARGV: now tenant_name scope address first last id

local auth_error = authenticate_call(api_key, tenant, tenant_name, scope, now, address, 'calls-per-minute')
if auth_error then return { auth_error } end
if not redis.call('ZSCORE', tenant_batches, id) then return { 'not_found' } end
local stored = redis.call('HMGET', record, 'doc', 'finished_at')
if not stored[1] then return { 'not_found' } end
if redis.call('EXISTS', record .. ':rest') == 1 then return { 'unwritten' } end
local counts = redis.call('HMGET', record, 'in_queue', 'in_progress', 'completed', 'failed', 'cancelled')
local rows, docs = redis.call('LRANGE', items, first, last), {}
for index, row in ipairs(rows) do
  local id = string.match(row, '^([%w_-]+) ')
  docs[index] = id and redis.call('HGET', NAMES.job .. id, 'doc') or ''
end
return { 'ok', stored[1], stored[2] or '', counts, rows, docs }
