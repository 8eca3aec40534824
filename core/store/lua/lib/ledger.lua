-- Adds the windows of the API key that submitted the job, if it has a budget of its own.
local function append_key_windows(windows, key_windows)
  for window in string.gmatch(key_windows or '', '%S+') do windows[#windows + 1] = window end
  return windows
end

-- Books a job's settlement in its tenant's usage windows. Only differences are added, so that repeating a step books
-- nothing twice; reserved = settled + released + held at all times. An expired window is not created again, because
-- it would get no expiry.
-- `settlement_status` is 'held', 'free', 'spent' (`cost` is known) or 'estimated' (spent, and the cost stays unknown).
local function settle(job, windows, model, settlement_status, cost)
  local totals = redis.call('HMGET', job, 'reserved', 'settled', 'released')
  local before = { tonumber(totals[1] or 0), tonumber(totals[2] or 0), tonumber(totals[3] or 0) }
  local reserved, settled, released = before[1], 0, 0
  if settlement_status == 'free' then released = reserved end
  if settlement_status == 'estimated' then settled = reserved end
  if settlement_status == 'spent' then
    settled = tonumber(cost)
    reserved = math.max(reserved, settled)
    released = reserved - settled
  end
  local after, names = { reserved, settled, released }, { 'reserved', 'settled', 'released' }
  for index, name in ipairs(names) do
    local difference = after[index] - before[index]
    if difference ~= 0 then
      redis.call('HINCRBY', job, name, difference)
      for _, window in ipairs(windows) do
        if redis.call('EXISTS', window) == 1 then
          redis.call('HINCRBY', window, name, difference)
          redis.call('HINCRBY', window, name .. '|' .. model, difference)
        end
      end
    end
  end
end
