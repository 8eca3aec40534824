-- The admission's checks. Each adds a row { policy, limit, remaining, reset in s } for the caller's
-- RateLimit fields, and the first that refuses says so. Nothing is written before all have passed.

local POLICY_FIELDS = {
  'requests_per_minute', 'burst', 'waiting', 'jobs_per_day', 'jobs_per_month', 'usd_per_request',
  'usd_per_day', 'usd_per_month', 'models', 'priority', 'unknown_price', 'unknown_price_counts',
  'running', 'weight', 'cache', 'cache_ms', 'cache_shared', 'idempotency_required',
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

-- GCRA: the theoretical arrival time of the next submit, in ms. One that lies a minute further ahead
-- than it can is of a clock that was put back since, and counts for nothing: clocks that merely differ
-- a little must not forget each other's submits.
local function read_arrival(policy, rate, now)
  local limit = tonumber(policy.requests_per_minute)
  if not limit or limit <= 0 then return now end
  local arrival = math.max(tonumber(redis.call('GET', rate) or now), now)
  local tolerance = math.max(tonumber(policy.burst or limit), 1) * 60000 / limit
  return arrival > now + tolerance + 60000 and now or arrival
end

-- The refusal, or nil and the arrival time after this submit (nil where there is no limit).
local function check_rate(policy, before, now, rows)
  local limit = tonumber(policy.requests_per_minute)
  if not limit then return nil, nil end
  if limit <= 0 then
    rows[#rows + 1] = { 'requests-per-minute', 0, 0, 0 }
    return refusal('requests-per-minute'), nil
  end
  local interval = 60000 / limit
  local tolerance = math.max(tonumber(policy.burst or limit), 1) * interval
  local arrival = before + interval
  local early, slack = arrival - tolerance - now, math.min(0.5, interval / 2)
  local refused = early > slack
  local taken = refused and before or arrival
  local room = math.floor((now + tolerance - taken + slack) / interval)
  rows[#rows + 1] = { 'requests-per-minute', limit, math.max(room, 0), math.ceil((taken - now) / 1000) }
  if refused then return refusal('requests-per-minute', early), nil end
  return nil, arrival
end

local function read_window(window)
  local used = redis.call('HMGET', window, 'jobs', 'reserved', 'released')
  return { jobs = tonumber(used[1] or 0), usd = tonumber(used[2] or 0) - tonumber(used[3] or 0) }
end

-- `more` nil: this one does not count here, and the row only tells.
local function check_count(name, limit, used, more, reset, rows)
  if not limit then return nil end
  local remaining = tonumber(limit) - used - (more or 0)
  rows[#rows + 1] = { name, limit, math.max(remaining, 0), reset / 1000 }
  if remaining < 0 and more then return refusal(name, reset) end
  return nil
end

-- `reset` is negative for a job made just before the border and admitted just after it.
local function check_window(kind, policy, used, amount, reset, rows)
  reset = math.max(reset, 0)
  return check_count('jobs-per-' .. kind, policy['jobs_per_' .. kind], used.jobs, 1, reset, rows)
    or check_count('usd-per-' .. kind, policy['usd_per_' .. kind], used.usd, amount, reset, rows)
end
