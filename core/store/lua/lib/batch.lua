-- Counters of a batch's jobs in each public status. A job's record has the status under which it is counted, so
-- that repeating a step counts nothing twice. The change that ends the last open job marks the batch as finished;
-- a worker then sends its completion event.

local function complete_if_finished(batch, now, ttl_seconds)
  local record = NAMES.batch .. batch
  local stored = redis.call('HMGET', record, 'in_queue', 'in_progress', 'idempotency', 'batch_index')
  if tonumber(stored[1]) + tonumber(stored[2]) > 0 then return end
  redis.call('HSET', record, 'finished_at', now)
  redis.call('ZADD', NAMES.batches, now, batch)
  redis.call('EXPIRE', record, ttl_seconds)
  redis.call('EXPIRE', record .. ':items', ttl_seconds)
  if stored[3] then redis.call('EXPIRE', stored[3], ttl_seconds) end
  if stored[4] then redis.call('EXPIRE', stored[4], ttl_seconds + 86400) end  -- a day longer than its last batch
end

local OPEN_STATUSES = { in_queue = true, in_progress = true }

-- `batch` and `batch_status` are fields of the job's record, false for a job without a batch.
local function update_batch_counts(job, batch, batch_status, status, now, ttl_seconds)
  if not batch or batch_status == status then return end
  redis.call('HSET', job, 'batch_status', status)
  redis.call('HINCRBY', NAMES.batch .. batch, batch_status, -1)
  redis.call('HINCRBY', NAMES.batch .. batch, status, 1)
  if not OPEN_STATUSES[status] then complete_if_finished(batch, now, ttl_seconds) end
end
