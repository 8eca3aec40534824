-- Takes jobs whose records are gone out of their tenant's indexes: looks at the next `most` that were
-- made after `from` and before `horizon` (ms).
-- Returns { how many were gone, from when to go on ('' when all were looked at) }.
-- Protects: indexes end with what they index; no call is long.
-- USES: names index
-- KEYS: tenant_jobs
-- ARGV: tenant_name from horizon most

local gone, last = 0, ''
local found = redis.call('ZRANGEBYSCORE', tenant_jobs, '(' .. from, '(' .. horizon, 'WITHSCORES', 'LIMIT', 0, most)
for position = 1, #found, 2 do
  last = found[position + 1]
  if redis.call('EXISTS', NAMES.job .. found[position]) == 0 then
    unlist(tenant_name, found[position])
    gone = gone + 1
  end
end
return { gone, #found / 2 == tonumber(most) and last or '' }
