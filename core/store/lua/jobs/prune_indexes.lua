-- Takes jobs whose records are gone out of their tenant's indexes: looks at `most` of those made before
-- `horizon` (ms), oldest first, after the `passed` that are still there.
-- Returns { how many were gone, how many have been passed now ('' when all were looked at) }.
-- Protects: indexes end with what they index; no call is long.
-- USES: job_indexes
-- KEYS: tenant_jobs
-- ARGV: tenant_name passed horizon most

local gone, first = 0, tonumber(passed)
local found = redis.call('ZRANGE', tenant_jobs, first, first + tonumber(most) - 1, 'WITHSCORES')
for position = 1, #found, 2 do
  if tonumber(found[position + 1]) >= tonumber(horizon) then return { gone, '' } end
  if redis.call('EXISTS', NAMES.job .. found[position]) == 0 then
    unlist(tenant_name, found[position])
    gone = gone + 1
  end
end
if #found / 2 < tonumber(most) then return { gone, '' } end
return { gone, first + #found / 2 - gone }
