-- Rate limit by GCRA with a burst of one second. Returns how many of `requested` tokens are granted at `per_second`,
-- and when the next one is available (ms).
-- An arrival time more than a minute beyond the burst was written by a clock that has been set back since, and is
-- ignored; clocks that differ a little must still respect each other's tokens.
local function take_tokens(rate, per_second, requested, now)
  local interval = 1000 / per_second
  local burst = math.max(1, math.floor(per_second)) * interval
  local arrival = math.max(tonumber(redis.call('GET', rate) or now), now)
  if arrival > now + burst + 60000 then arrival = now end
  local available = math.floor((now + burst - arrival) / interval + 1e-6)
  local granted = math.max(math.min(requested, available), 0)
  if granted > 0 then
    local new_arrival = arrival + granted * interval
    redis.call('SET', rate, string.format('%.3f', new_arrival), 'PX', math.ceil(new_arrival - now) + 1000)
  end
  return granted, arrival + interval - burst
end
