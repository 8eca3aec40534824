-- The indexes of a tenant's jobs, by score (core/jobs/query.py): all jobs, and one for each status except `completed`,
-- because most jobs are completed and the index of all jobs finds them.
-- The references have one index, scored by a number computed from their digest, so that an id is enough to remove one.
local INDEXED = { in_queue = true, in_progress = true, failed = true, cancelled = true }

local function job_index_of(tenant, status)
  return NAMES.tenant .. tenant .. ':jobs' .. (status and ':' .. status or '')
end

local function reference_index_of(tenant) return NAMES.tenant .. tenant .. ':references' end

-- Gives an index that was just created, with `new_count` members, the expiry of the index of all jobs, which has one
-- if the tenant was deleted.
local function copy_index_expiry(list, tenant, new_count)
  if redis.call('ZCARD', list) > new_count then return end
  local left = redis.call('PTTL', job_index_of(tenant))
  if left >= 0 then redis.call('PEXPIRE', list, left) end
end

-- Moves a job to the index of its new status; `before` is '' for a new job.
local function update_status_index(tenant, id, score, before, status)
  if before == status then return end
  if INDEXED[before] then redis.call('ZREM', job_index_of(tenant, before), id) end
  if not INDEXED[status] then return end
  redis.call('ZADD', job_index_of(tenant, status), score, id)
  copy_index_expiry(job_index_of(tenant, status), tenant, 1)
end

-- Removes an expired or deleted job.
local function remove_from_indexes(tenant, id)
  redis.call('ZREM', job_index_of(tenant), id)
  redis.call('ZREM', reference_index_of(tenant), id)
  set_stored_bytes(tenant, id, 0)
  for status in pairs(INDEXED) do redis.call('ZREM', job_index_of(tenant, status), id) end
end
