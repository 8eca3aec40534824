-- GCRA with a second's burst: how many of `wanted` may go now at `per_second`, and from when the next.
-- What a clock left that was put back since (by a minute or more) counts for nothing.
local function allowance(rate, per_second, wanted, now)
  local interval = 1000 / per_second
  local burst = math.max(1, math.floor(per_second)) * interval
  local arrival = math.max(tonumber(redis.call('GET', rate) or now), now)
  if arrival > now + burst + 60000 then arrival = now end
  local room = math.floor((now + burst - arrival) / interval + 1e-6)
  local granted = math.max(math.min(wanted, room), 0)
  if granted > 0 then
    local following = arrival + granted * interval
    redis.call('SET', rate, string.format('%.3f', following), 'PX', math.ceil(following - now) + 1000)
  end
  return granted, arrival + interval - burst
end
