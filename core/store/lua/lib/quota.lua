-- The limits that an admission checks. Each check adds a row { policy, limit, remaining, reset (ms) } for the RateLimit
-- header fields, flat, and returns a rejection or nil. Nothing is written before all checks have passed.

local FIELDS = {
  'requests_per_minute', 'burst', 'waiting', 'jobs_per_day', 'jobs_per_month', 'usd_per_request',
  'usd_per_day', 'usd_per_month', 'priority', 'unknown_price_counts', 'running', 'weight', 'cache_ms',
  'calls_per_minute', 'stored_bytes', 'models', 'unknown_price', 'cache', 'cache_shared', 'idempotency_required', 'disabled',
}
local NUMBERS = 15

-- Returns the limits that are set. The first `NUMBERS` fields are numbers, the others texts.
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

-- Whether a model id matches a pattern of core.tenants.limits.lua_pattern. The parts between the stars are searched one
-- after the other, each at its first position. One `find` of the whole pattern would backtrack, and the caller
-- chooses the id, and with it for how long.
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

-- The items of a batch have few models: each is matched once.
local function is_model_allowed(patterns, model)
  if allowed_models[model] == nil then allowed_models[model] = matches_any_pattern(patterns, model) end
  return allowed_models[model]
end

-- The amount to reserve for a request at `price`, '' for an unknown one.
local function amount_of(policy, price) return tonumber(price) or policy.unknown_price_counts or 0 end

local function read_account(account_balance)
  local account = redis.call('HMGET', account_balance, 'balance', 'minimum', 'read_at')
  return { balance = tonumber(account[1]), minimum = tonumber(account[2]), read_at = tonumber(account[3]) or 0 }
end

-- Whether RunComfy's balance covers the price, as far as both are known. An old balance may have been topped up.
local MAX_BALANCE_AGE = 600000
local function check_balance(account, price, now)
  if price == '' or not account.balance or now - account.read_at > MAX_BALANCE_AGE then return nil end
  return tonumber(price) > account.balance and reject('account-balance') or nil
end

-- Without an amount that the operator set for it, a request at an unknown price would pass any limit of money.
local function is_unknown_price_refused(policy, has_key_budget)
  if policy.unknown_price == 'refuse' then return true end
  local has_money_limit = has_key_budget or policy.usd_per_request or policy.usd_per_day or policy.usd_per_month
  return has_money_limit and (policy.unknown_price_counts or 0) == 0
end

-- Checks what depends on this request alone, not on earlier spending.
local function check_price(policy, account, price, amount, has_key_budget, rows)
  if price == '' and is_unknown_price_refused(policy, has_key_budget) then return reject('unknown-price') end
  local max_amount = policy.usd_per_request
  if max_amount then
    add_row(rows, 'usd-per-request', max_amount, max_amount, 0)
    if amount > max_amount then return reject('usd-per-request') end
  end
  if account.balance and account.minimum and account.balance < account.minimum then return reject('wallet') end
  return nil
end

-- GCRA: the theoretical arrival time of the next submit (ms). One more than a minute beyond the burst is ignored, as
-- in lib/gcra.lua.
local function read_arrival(policy, rate, now)
  local limit = policy.requests_per_minute
  if not limit or limit <= 0 then return now end
  local arrival = math.max(tonumber(redis.call('GET', rate)) or now, now)
  local tolerance = math.max(policy.burst or limit, 1) * 60000 / limit
  return arrival > now + tolerance + 60000 and now or arrival
end

-- Returns a rejection, or nil and the arrival time after this submit (nil without a limit).
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

-- The bytes of the inputs and outputs that are stored for a tenant (lib/stored_bytes.lua).
local function read_stored_bytes(tenant_name)
  return tonumber(redis.call('HGET', NAMES.stored_bytes .. tenant_name, '@total') or 0)
end

local function check_stored_bytes(policy, stored, bytes, rows)
  if not policy.stored_bytes then return nil end
  local left = policy.stored_bytes - stored - bytes
  add_row(rows, 'stored-bytes', policy.stored_bytes, math.max(left, 0), 0)
  if left < 0 then return reject('stored-bytes') end
  return nil
end

local function read_window(window)
  local used = redis.call('HMGET', window, 'jobs', 'reserved', 'released')
  return { jobs = tonumber(used[1]) or 0, usd = (tonumber(used[2]) or 0) - (tonumber(used[3]) or 0) }
end

-- `increment` nil: the request does not count here; only the row is added.
local function check_count(name, limit, used, increment, reset, rows)
  if not limit then return nil end
  local remaining = limit - used - (increment or 0)
  add_row(rows, name, limit, math.max(remaining, 0), reset)
  if remaining < 0 and increment then return reject(name, reset) end
  return nil
end

-- `reset` is negative for a job created just before the end of the window and admitted just after it.
local function check_window(kind, policy, used, amount, reset, rows)
  reset = math.max(reset, 0)
  return check_count('jobs-per-' .. kind, policy['jobs_per_' .. kind], used.jobs, 1, reset, rows)
    or check_count('usd-per-' .. kind, policy['usd_per_' .. kind], used.usd, amount, reset, rows)
end
