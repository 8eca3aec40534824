-- How the jobs of a batch stand: a counter in its hash for each public status. Each job's record says
-- by which of them it is counted, so that nothing is counted twice. Who brings the last open job to
-- its end marks the batch as ended, in the same step: a worker then finds it and tells of it, once.

local function close_batch(batch, now, life)
  local record = NAMES.batch .. batch
  local held = redis.call('HMGET', record, 'in_queue', 'in_progress', 'idempotency', 'listed')
  if tonumber(held[1]) + tonumber(held[2]) > 0 then return end
  redis.call('HSET', record, 'finished_at', now)
  redis.call('ZADD', NAMES.batches, now, batch)
  redis.call('EXPIRE', record, life)
  redis.call('EXPIRE', record .. ':items', life)
  if held[3] then redis.call('EXPIRE', held[3], life) end
  if held[4] then redis.call('EXPIRE', held[4], life + 86400) end
end

local OPEN_STATUSES = { in_queue = true, in_progress = true }

-- `batch` and `counted` as the job's record has them; both false for a job that came alone.
local function note_status(job, batch, counted, status, now, life)
  if not batch or counted == status then return end
  redis.call('HSET', job, 'counted', status)
  redis.call('HINCRBY', NAMES.batch .. batch, counted, -1)
  redis.call('HINCRBY', NAMES.batch .. batch, status, 1)
  if not OPEN_STATUSES[status] then close_batch(batch, now, life) end
end
