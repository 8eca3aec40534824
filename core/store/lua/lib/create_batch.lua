-- A batch's own record as its jobs are taken in. `made` is what is known of it as a whole; `statuses` are
-- those of jobs by their fates.

-- What became of each item of the batch, in their order.
local function batch_rows(items, answers, refused)
  local rows, place = {}, 1
  for _, one in ipairs(cjson.decode(refused)) do rows[one[1] + 1] = '? ' .. one[2] end
  for index, item in ipairs(items) do
    while rows[place] do place = place + 1 end
    local no = answers[index]
    rows[place] = item.fits and (item.id .. ' ' .. item.fate) or ('! ' .. no[2] .. ' ' .. no[3])
  end
  return rows
end

-- Batches whose records are gone leave the list as new ones come.
local function list_batch(listed, batch, now)
  for _, old in ipairs(redis.call('ZRANGE', listed, 0, 2)) do
    if redis.call('EXISTS', NAMES.batch .. old) == 0 then redis.call('ZREM', listed, old) end
  end
  redis.call('ZADD', listed, now, batch)
  redis.call('PERSIST', listed)
end

local function write_batch(items, answers, statuses, made)
  local record, counts = NAMES.batch .. made.id, { completed = 0, in_queue = 0 }
  for _, item in ipairs(items) do
    local status = item.fits and statuses[item.fate]
    if status then counts[status] = counts[status] + 1 end
  end
  local listed = NAMES.tenant .. made.tenant .. ':batches'
  redis.call('HSET', record, 'doc', made.doc, 'listed', listed, 'in_queue', counts.in_queue,
    'in_progress', 0, 'completed', counts.completed, 'failed', 0, 'cancelled', 0)
  if made.idempotency then redis.call('HSET', record, 'idempotency', made.idempotency) end
  local rows = batch_rows(items, answers, made.refused)
  for first = 1, #rows, 1000 do
    redis.call('RPUSH', record .. ':items', unpack(rows, first, math.min(first + 999, #rows)))
  end
  list_batch(listed, made.id, made.now)
  close_batch(made.id, made.now, made.life)
end
