-- The admission's checks. Each adds a row { policy, limit, remaining, reset in s } for the caller's
-- RateLimit fields, and the first that refuses says so. Nothing is written before all have passed.

local POLICY_FIELDS = {
  'requests_per_minute', 'burst', 'waiting', 'jobs_per_day', 'jobs_per_month', 'usd_per_request',
  'usd_per_day', 'usd_per_month', 'models', 'priority', 'unknown_price', 'unknown_price_counts',
  'running',
}

local function read_policy(tenant)
  local values = redis.call('HMGET', tenant, unpack(POLICY_FIELDS))
  local policy = {}
  for index, field in ipairs(POLICY_FIELDS) do
    if values[index] and values[index] ~= '' then policy[field] = values[index] end
  end
  return policy
end

local function refusal(policy, retry_after) return { policy, retry_after or -1 } end

local function may_use(patterns, model)
  for pattern in string.gmatch(patterns, '[^\n]+') do
    if string.find(model, pattern) then return true end
  end
  return false
end

-- GCRA: `rate` holds the theoretical arrival time of the next submit, in ms.
local function check_rate(policy, rate, now, rows)
  local limit = tonumber(policy.requests_per_minute)
  if not limit then return nil, nil end
  local interval, burst = 60000 / limit, tonumber(policy.burst or policy.requests_per_minute)
  local arrival = math.max(tonumber(redis.call('GET', rate) or now), now) + interval
  local early = arrival - burst * interval - now
  local room = math.floor((now + burst * interval - arrival) / interval)
  rows[#rows + 1] = { 'requests-per-minute', limit, math.max(room, 0), math.ceil((arrival - now) / 1000) }
  if early > 0.5 then return refusal('requests-per-minute', early), nil end
  return nil, arrival
end

local function check_count(name, limit, used, more, reset, rows)
  if not limit then return nil end
  local remaining = tonumber(limit) - used - more
  rows[#rows + 1] = { name, limit, math.max(remaining, 0), reset / 1000 }
  if remaining < 0 then return refusal(name, reset) end
  return nil
end

local function check_window(kind, policy, window, amount, reset, rows)
  local used = redis.call('HMGET', window, 'jobs', 'reserved', 'released')
  local spent = tonumber(used[2] or 0) - tonumber(used[3] or 0)
  return check_count('jobs-per-' .. kind, policy['jobs_per_' .. kind], tonumber(used[1] or 0), 1, reset, rows)
    or check_count('usd-per-' .. kind, policy['usd_per_' .. kind], spent, amount, reset, rows)
end
