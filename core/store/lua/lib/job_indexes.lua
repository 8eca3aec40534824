-- The indexes that a tenant's jobs are listed by, by the jobs' places (see core/jobs/query.py): all of them, and
-- those of each status but `completed`, which is the rule and is found by looking through all.
-- References stand in one index by a number made of their digest, so that ids alone take jobs out.
local INDEXED = { in_queue = true, in_progress = true, failed = true, cancelled = true }

local function job_index_of(tenant, status)
  return NAMES.tenant .. tenant .. ':jobs' .. (status and ':' .. status or '')
end

local function reference_index_of(tenant) return NAMES.tenant .. tenant .. ':references' end

-- An index that begins, with `new_count` members, ends with that of all jobs, which has an end where the
-- tenant was deleted.
local function copy_index_expiry(list, tenant, new_count)
  if redis.call('ZCARD', list) > new_count then return end
  local left = redis.call('PTTL', job_index_of(tenant))
  if left >= 0 then redis.call('PEXPIRE', list, left) end
end

-- A job has another status than before ('' where it is new).
local function update_status_index(tenant, id, score, before, status)
  if before == status then return end
  if INDEXED[before] then redis.call('ZREM', job_index_of(tenant, before), id) end
  if not INDEXED[status] then return end
  redis.call('ZADD', job_index_of(tenant, status), score, id)
  copy_index_expiry(job_index_of(tenant, status), tenant, 1)
end

-- A job that is gone.
local function remove_from_indexes(tenant, id)
  redis.call('ZREM', job_index_of(tenant), id)
  redis.call('ZREM', reference_index_of(tenant), id)
  for status in pairs(INDEXED) do redis.call('ZREM', job_index_of(tenant, status), id) end
end
