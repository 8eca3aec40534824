-- The admission's checks. Each adds a row { policy, limit, remaining, reset in ms } for the caller's
-- RateLimit fields, flat, and the first that refuses says so. Nothing is written before all have passed.

local FIELDS = {
  'requests_per_minute', 'burst', 'waiting', 'jobs_per_day', 'jobs_per_month', 'usd_per_request',
  'usd_per_day', 'usd_per_month', 'priority', 'unknown_price_counts', 'running', 'weight', 'cache_ms',
  'models', 'unknown_price', 'cache', 'cache_shared', 'idempotency_required', 'disabled',
}
local NUMBERS = 13

-- A limit that is not set is not there. The first `NUMBERS` are numbers, the others words.
local function read_policy(tenant)
  local stored, policy = redis.call('HMGET', tenant, unpack(FIELDS)), {}
  for at = 1, NUMBERS do policy[FIELDS[at]] = tonumber(stored[at]) end
  for at = NUMBERS + 1, #FIELDS do
    if stored[at] ~= '' then policy[FIELDS[at]] = stored[at] or nil end
  end
  return policy
end

local function reject(policy, retry_after) return { policy, retry_after or -1 } end

local function add_row(rows, policy, limit, remaining, reset)
  local last = #rows
  rows[last + 1], rows[last + 2], rows[last + 3], rows[last + 4] = policy, limit, remaining, reset
end

-- Whether an id is as a pattern of core.tenants.limits.lua_pattern says. The parts between its stars are looked
-- for one after the other, each as far left as it goes: one `find` for the whole would try all ways to
-- place them, and whoever chooses the id would choose how many there are.
local function matches_pattern(model, pattern)
  local from, at = 1, 1
  while true do
    local star = string.find(pattern, '.*', at, true)
    local _, last = string.find(model, string.sub(pattern, at, (star or 0) - 1), from)
    if not last or not star then return last ~= nil end
    from, at = last + 1, star + 2
  end
end

local function matches_any_pattern(patterns, model)
  for pattern in string.gmatch(patterns, '[^\n]+') do
    if matches_pattern(model, pattern) then return true end
  end
  return false
end

local allowed_models = {}

-- The items of a batch are mostly of few models: each is looked for once.
local function is_model_allowed(patterns, model)
  if allowed_models[model] == nil then allowed_models[model] = matches_any_pattern(patterns, model) end
  return allowed_models[model]
end

-- What is reserved for a request at `price`, '' where nobody knows it.
local function amount_of(policy, price) return tonumber(price) or policy.unknown_price_counts or 0 end

local function read_account(account_balance)
  local account = redis.call('HMGET', account_balance, 'balance', 'minimum')
  return { balance = tonumber(account[1]), minimum = tonumber(account[2]) }
end

-- What concerns one paid request alone, whatever was spent before.
local function check_price(policy, account, price, amount, rows)
  if price == '' and policy.unknown_price == 'refuse' then return reject('unknown-price') end
  local max_amount = policy.usd_per_request
  if max_amount then
    add_row(rows, 'usd-per-request', max_amount, max_amount, 0)
    if amount > max_amount then return reject('usd-per-request') end
  end
  if account.balance and account.minimum and account.balance < account.minimum then return reject('wallet') end
  return nil
end

-- GCRA: the theoretical arrival time of the next submit, in ms. One that lies a minute further ahead
-- than it can is of a clock that was put back since, and counts for nothing: clocks that merely differ
-- a little must not forget each other's submits.
local function read_arrival(policy, rate, now)
  local limit = policy.requests_per_minute
  if not limit or limit <= 0 then return now end
  local arrival = math.max(tonumber(redis.call('GET', rate)) or now, now)
  local tolerance = math.max(policy.burst or limit, 1) * 60000 / limit
  return arrival > now + tolerance + 60000 and now or arrival
end

-- The refusal, or nil and the arrival time after this submit (nil where there is no limit).
local function check_rate(policy, before, now, rows)
  local limit = policy.requests_per_minute
  if not limit then return nil, nil end
  if limit <= 0 then
    add_row(rows, 'requests-per-minute', 0, 0, 0)
    return reject('requests-per-minute'), nil
  end
  local interval = 60000 / limit
  local tolerance = math.max(policy.burst or limit, 1) * interval
  local arrival = before + interval
  local early, slack = arrival - tolerance - now, math.min(0.5, interval / 2)
  local rejected = early > slack
  local next_arrival = rejected and before or arrival
  local available = math.floor((now + tolerance - next_arrival + slack) / interval)
  add_row(rows, 'requests-per-minute', limit, math.max(available, 0), math.ceil((next_arrival - now) / 1000) * 1000)
  if rejected then return reject('requests-per-minute', early), nil end
  return nil, arrival
end

local function read_window(window)
  local used = redis.call('HMGET', window, 'jobs', 'reserved', 'released')
  return { jobs = tonumber(used[1]) or 0, usd = (tonumber(used[2]) or 0) - (tonumber(used[3]) or 0) }
end

-- `increment` nil: this one does not count here, and the row only tells.
local function check_count(name, limit, used, increment, reset, rows)
  if not limit then return nil end
  local remaining = limit - used - (increment or 0)
  add_row(rows, name, limit, math.max(remaining, 0), reset)
  if remaining < 0 and increment then return reject(name, reset) end
  return nil
end

-- `reset` is negative for a job made just before the border and admitted just after it.
local function check_window(kind, policy, used, amount, reset, rows)
  reset = math.max(reset, 0)
  return check_count('jobs-per-' .. kind, policy['jobs_per_' .. kind], used.jobs, 1, reset, rows)
    or check_count('usd-per-' .. kind, policy['usd_per_' .. kind], used.usd, amount, reset, rows)
end
