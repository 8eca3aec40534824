-- Stores a job's settlement; returns its amounts { reserved, settled, released } after it. reserved = settled +
-- released + held at all times. `before` are the amounts until now.
-- `settlement_status` is 'held', 'free', 'spent' (`cost` is known) or 'estimated' (spent, and the cost stays unknown).
local function settle(job, before, settlement_status, cost)
  local reserved, settled, released = before[1], 0, 0
  if settlement_status == 'free' then released = reserved end
  if settlement_status == 'estimated' then settled = reserved end
  if settlement_status == 'spent' then
    settled = tonumber(cost)
    reserved = math.max(reserved, settled)
    released = reserved - settled
  end
  local after = { reserved, settled, released }
  for at, name in ipairs({ 'reserved', 'settled', 'released' }) do
    if after[at] ~= before[at] then redis.call('HSET', job, name, string.format('%.0f', after[at])) end
  end
  return after
end
