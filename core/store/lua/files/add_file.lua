-- Records a complete file, or finds the tenant's file with the same content, which is then kept as long as the new one.
-- Returns { 'added' | 'known', doc, expires_at } or { 'refused', policy, ms until it may fit, or -1 }. All bytes
-- of an upload (`is_upload`) count as uploaded, those of a known file and of one without room too.
-- `only_known` = '1': its content was not kept, so that a new record would have none; it is refused then.
-- `tenant_gone`: the tenant was deleted meanwhile.
-- KEYS: tenants tenant file files tenant_files file_contents file_usage
-- ARGV: tenant_name id sha256 bytes doc expires_at day ms_left_of_day is_input is_upload only_known

if redis.call('SISMEMBER', tenants, tenant_name) == 0 then return { 'tenant_gone' } end
local limits = redis.call('HMGET', tenant, 'upload_bytes_per_day', 'storage_bytes')
local usage = redis.call('HMGET', file_usage, 'day', 'day_bytes', 'bytes')
local uploaded = (usage[1] == day and tonumber(usage[2]) or 0) + (is_upload == '1' and tonumber(bytes) or 0)
local per_day, most = tonumber(limits[1] or ''), tonumber(limits[2] or '')
if per_day and uploaded > per_day and is_upload == '1' then return { 'refused', 'upload-bytes-per-day', ms_left_of_day } end

local known = redis.call('HGET', file_contents, sha256)
local known_file = known and NAMES.file .. known
if known_file and redis.call('EXISTS', known_file) == 1 then
  local kept_until = math.max(tonumber(redis.call('HGET', known_file, 'expires_at')), tonumber(expires_at))
  kept_until = string.format('%.0f', kept_until)
  redis.call('HSET', known_file, 'expires_at', kept_until)
  redis.call('ZADD', files, kept_until, known)
  redis.call('HSET', file_usage, 'day', day, 'day_bytes', uploaded)
  return { 'known', redis.call('HGET', known_file, 'doc'), kept_until }
end

local stored = (tonumber(usage[3] or '') or 0) + tonumber(bytes)
redis.call('HSET', file_usage, 'day', day, 'day_bytes', uploaded)
if only_known == '1' or (most and stored > most) then return { 'refused', 'storage-bytes', -1 } end
redis.call('HSET', file, 'tenant', tenant_name, 'sha256', sha256, 'bytes', bytes, 'expires_at', expires_at, 'doc', doc,
  'is_input', is_input)
redis.call('ZADD', files, expires_at, id)
redis.call('ZADD', tenant_files, 0, id)
redis.call('HSET', file_contents, sha256, id)
redis.call('HSET', file_usage, 'bytes', stored)
return { 'added', doc, expires_at }
