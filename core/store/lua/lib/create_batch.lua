-- The record of a new batch. `batch_fields` are the batch's own; `statuses` maps cache statuses to public ones.

-- Many items have one rejection.
local function rejection_row(rejection)
  rejection.row = rejection.row or '! ' .. rejection[1] .. ' ' .. tostring(rejection[2])
  return rejection.row
end

-- One row for each item, in order: "<job id> <cache status>", "! <policy> <retry after>" or "? <problem>".
local function batch_rows(items, rejections, rejected)
  local rows, position = {}, 1
  for _, pair in ipairs(cjson.decode(rejected)) do rows[pair[1] + 1] = '? ' .. pair[2] end
  for index, item in ipairs(items) do
    while rows[position] do position = position + 1 end
    item.row = position
    local rejection = rejections[index]
    rows[position] = rejection and rejection_row(rejection) or item.id .. ' ' .. item.cache_status
  end
  return rows
end

-- Each new batch removes up to three expired ones from the index.
local function index_batch(batch_index, batch, now)
  for _, old in ipairs(redis.call('ZRANGE', batch_index, 0, 2)) do
    if redis.call('EXISTS', NAMES.batch .. old) == 0 then redis.call('ZREM', batch_index, old) end
  end
  redis.call('ZADD', batch_index, now, batch)
  redis.call('PERSIST', batch_index)
end

local function write_batch(items, rejections, statuses, batch_fields)
  local record, counts = NAMES.batch .. batch_fields.id, { completed = 0, in_queue = 0 }
  for _, item in ipairs(items) do
    local status = item.is_admissible and statuses[item.cache_status]
    if status then counts[status] = counts[status] + 1 end
  end
  local batch_index = NAMES.tenant .. batch_fields.tenant .. ':batches'
  redis.call('HSET', record, 'doc', batch_fields.doc, 'batch_index', batch_index, 'in_queue', counts.in_queue,
    'in_progress', 0, 'completed', counts.completed, 'failed', 0, 'cancelled', 0)
  if batch_fields.idempotency then redis.call('HSET', record, 'idempotency', batch_fields.idempotency) end
  local rows = batch_rows(items, rejections, batch_fields.rejected)
  for first = 1, #rows, 1000 do
    redis.call('RPUSH', record .. ':items', unpack(rows, first, math.min(first + 999, #rows)))
  end
  index_batch(batch_index, batch_fields.id, batch_fields.now)
  complete_if_finished(batch_fields.id, batch_fields.now, batch_fields.ttl_seconds)
end
