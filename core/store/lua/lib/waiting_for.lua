-- Jobs that wait for something other than their turn (core.jobs.job.WaitingFor). They have no slot and no place in
-- the fair queue. Each kind has an index by price, the cheapest first; an unknown price comes last.
local UNKNOWN_PRICE = 1e15

local function count_waiting_for(kind, tenant, price, by)
  add_to_counter(NAMES.waiting_for, kind, by)
  add_to_counter(NAMES.waiting_for, 'tenant:' .. tenant, by)
  local amount = tonumber(price) or 0
  if amount > 0 then add_to_counter(NAMES.waiting_for, 'usd:' .. kind, by * amount) end
end

local function start_waiting_for(kind, tenant, id, price)
  if redis.call('ZADD', NAMES.waiting_jobs .. kind, price == '' and UNKNOWN_PRICE or price, id) == 1 then
    count_waiting_for(kind, tenant, price, 1)
  end
end

local function stop_waiting_for(kind, tenant, id, price)
  if redis.call('ZREM', NAMES.waiting_jobs .. kind, id) == 1 then count_waiting_for(kind, tenant, price, -1) end
end
