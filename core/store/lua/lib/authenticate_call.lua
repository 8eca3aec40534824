-- Checks a call that is no submit: its API key, and its tenant's rates of calls. Returns an error, or nil.
-- A rate is a GCRA with a burst of one minute's calls; an arrival time far ahead is ignored, as in lib/gcra.lua.

-- Returns 'limited <policy> <ms>' if no call is left, with the time until the next one.
local function take_call(tenant_name, policy, per_minute, now)
  per_minute, now = tonumber(per_minute or ''), tonumber(now)
  if not per_minute then return nil end
  if per_minute <= 0 then return 'limited ' .. policy .. ' -1' end
  local rate, interval, burst = NAMES.call_rate .. tenant_name .. ':' .. policy, 60000 / per_minute, 60000
  local arrival = math.max(tonumber(redis.call('GET', rate) or now), now)
  if arrival > now + 2 * burst then arrival = now end
  local early = arrival + interval - burst - now
  if early > math.min(0.5, interval / 2) then return string.format('limited %s %d', policy, math.ceil(early)) end
  arrival = arrival + interval
  redis.call('SET', rate, string.format('%.3f', arrival), 'PX', math.ceil(arrival - now) + 1000)
  return nil
end

-- `rate`: the policy of the call; a webhook action is a call too. '' for a check that is no call of its own.
local function authenticate_call(api_key, tenant, tenant_name, scope, now, address, rate)
  local stored = redis.call('HMGET', tenant, 'disabled', 'calls_per_minute', 'webhook_actions_per_minute')
  local auth_error = authenticate(api_key, stored[1], tenant_name, scope, now, address)
  if auth_error or rate == '' then return auth_error end
  auth_error = take_call(tenant_name, 'calls-per-minute', stored[2], now)
  if auth_error or rate == 'calls-per-minute' then return auth_error end
  return take_call(tenant_name, rate, stored[3], now)
end
