-- The indexes that a tenant's jobs are listed by, by the jobs' places (see core/jobs/query.py): all of them, and
-- those of each status but `completed`, which is the rule and is found by looking through all.
-- References stand in one index by a number made of their digest, so that ids alone take jobs out.
local LISTED = { in_queue = true, in_progress = true, failed = true, cancelled = true }

local function jobs_of(tenant, status)
  return NAMES.tenant .. tenant .. ':jobs' .. (status and ':' .. status or '')
end

local function references_of(tenant) return NAMES.tenant .. tenant .. ':references' end

-- An index that begins, with `new` members, ends with that of all jobs, which has an end where the
-- tenant was deleted.
local function end_with_all(list, tenant, new)
  if redis.call('ZCARD', list) > new then return end
  local left = redis.call('PTTL', jobs_of(tenant))
  if left >= 0 then redis.call('PEXPIRE', list, left) end
end

-- A job has another status than before ('' where it is new).
local function relist(tenant, id, place, before, status)
  if before == status then return end
  if LISTED[before] then redis.call('ZREM', jobs_of(tenant, before), id) end
  if not LISTED[status] then return end
  redis.call('ZADD', jobs_of(tenant, status), place, id)
  end_with_all(jobs_of(tenant, status), tenant, 1)
end

-- A job that is gone.
local function unlist(tenant, id)
  redis.call('ZREM', jobs_of(tenant), id)
  redis.call('ZREM', references_of(tenant), id)
  for status in pairs(LISTED) do redis.call('ZREM', jobs_of(tenant, status), id) end
end
