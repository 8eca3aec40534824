-- Books what a job's money has come to in its tenant's windows; only differences are added, so that
-- saying the same twice books once. reserved = settled + released + held, always. A window whose time
-- is over stays gone: it would come back without one.
-- `settlement_status` is 'held', 'free', 'spent' (at `cost`) or 'estimated' (spent, nobody will say how much).
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
