-- Removes expired jobs from their tenant's indexes: checks `batch_size` of the jobs created before
-- `created_before` (ms), oldest first, after the first `offset` that still exist.
-- Returns { number removed, offset of the next step, or '' if all were checked }.
-- Guarantees: no job stays in an index for ever; each call is short.
-- USES: stored_bytes job_indexes
-- FLAGS: allow-oom
-- KEYS: tenant_jobs
-- ARGV: tenant_name offset created_before batch_size

local removed, first = 0, tonumber(offset)
local found = redis.call('ZRANGE', tenant_jobs, first, first + tonumber(batch_size) - 1, 'WITHSCORES')
for position = 1, #found, 2 do
  if tonumber(found[position + 1]) >= tonumber(created_before) then return { removed, '' } end
  if redis.call('EXISTS', NAMES.job .. found[position]) == 0 then
    remove_from_indexes(tenant_name, found[position])
    removed = removed + 1
  end
end
if #found / 2 < tonumber(batch_size) then return { removed, '' } end
return { removed, first + #found / 2 - removed }
