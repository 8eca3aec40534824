-- The limits that an admission checks. Each check adds a row { policy, limit, remaining, reset (ms) } for the RateLimit
-- header fields, flat, and returns a rejection or nil. Nothing is written before all checks have passed.
-- `rows` nil: no rows are made. Of a batch, one item's are needed.
-- GIVES: FIELDS read_policy reject add_row matches_any_pattern is_model_allowed amount_of read_account check_balance
-- GIVES: check_price read_arrival has_rate_for check_rate read_stored_bytes check_stored_bytes check_storage_bytes
-- GIVES: WINDOWS read_windows read_budgets check_windows check_key_windows

local FIELDS = {
  'requests_per_minute', 'burst', 'waiting', 'jobs_per_day', 'jobs_per_month', 'usd_per_request',
  'usd_per_day', 'usd_per_week', 'usd_per_month', 'usd_total', 'priority', 'unknown_price_counts', 'running', 'weight', 'cache_ms',
  'calls_per_minute', 'stored_bytes', 'storage_bytes', 'models', 'unknown_price', 'cache', 'cache_shared', 'idempotency_required', 'disabled',
  'calendar', 'top_ups', 'archive',
}
local NUMBERS = 18

-- Returns the limits that are set. The first `NUMBERS` fields are numbers, the others texts.
local function read_policy(tenant)
  local stored, policy = redis.call('HMGET', tenant, unpack(FIELDS)), {}
  for at = 1, NUMBERS do
    if stored[at] then policy[FIELDS[at]] = tonumber(stored[at]) end
  end
  for at = NUMBERS + 1, #FIELDS do
    if stored[at] ~= '' then policy[FIELDS[at]] = stored[at] or nil end
  end
  return policy
end

local function reject(policy, retry_after) return { policy, retry_after or -1 } end

local function add_row(rows, policy, limit, remaining, reset)
  if not rows then return end
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
  local has_money_limit = has_key_budget or policy.usd_per_request or policy.usd_per_day or policy.usd_per_week
    or policy.usd_per_month or policy.usd_total
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

-- How early a submit may be that counts as in time (ms): clocks and sums of fractions are not exact.
local function slack_of(interval) return math.min(0.5, interval / 2) end

-- Whether the rate has room for `number` submits together.
local function has_rate_for(policy, before, now, number)
  local limit = policy.requests_per_minute
  if not limit then return true end
  if limit <= 0 then return false end
  local interval = 60000 / limit
  local tolerance = math.max(policy.burst or limit, 1) * interval
  return before + number * interval - tolerance - now <= slack_of(interval)
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
  local early, slack = arrival - tolerance - now, slack_of(interval)
  local rejected = early > slack
  if rows then
    local next_arrival = rejected and before or arrival
    local available = math.floor((now + tolerance - next_arrival + slack) / interval)
    add_row(rows, 'requests-per-minute', limit, math.max(available, 0), math.ceil((next_arrival - now) / 1000) * 1000)
  end
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

-- A paid request that is to wait for its outputs to be kept needs room for them: how much, RunComfy alone knows later.
-- The mode is that of core.archive.ModelArchive. What the tenant has stored is read once: no item of a batch changes it.
local function check_storage_bytes(policy, item, tenant_name, rows)
  local mode = item.archive_rule ~= '' and item.archive_rule or policy.archive or item.archive_default
  if mode ~= 'before' or not item.paid or not policy.storage_bytes then return nil end
  policy.storage_used = policy.storage_used
    or tonumber(redis.call('HGET', NAMES.tenant .. tenant_name .. ':file_usage', 'bytes') or 0)
  local left = policy.storage_bytes - policy.storage_used
  add_row(rows, 'storage-bytes', policy.storage_bytes, math.max(left, 0), 0)
  return left <= 0 and reject('storage-bytes') or nil
end

-- The windows of a budget, in the order of core.tenants.windows.Window, with their limits and the names that these
-- have in problem documents and header fields.
local WINDOWS = {
  { kind = 'day', jobs = 'jobs_per_day', usd = 'usd_per_day', jobs_policy = 'jobs-per-day', usd_policy = 'usd-per-day' },
  { kind = 'week', usd = 'usd_per_week', usd_policy = 'usd-per-week' },
  { kind = 'month', jobs = 'jobs_per_month', usd = 'usd_per_month', jobs_policy = 'jobs-per-month',
    usd_policy = 'usd-per-month' },
  { kind = 'total', usd = 'usd_total', usd_policy = 'usd-total' },
}

-- Returns a list of the windows `names`, each with `jobs` and `usd` used, and their rows.
local function read_windows(key, names)
  local stored, windows = read_rows(key, names), {}
  for at, name in ipairs(names) do
    local jobs, reserved, _, released = parse_reservations(stored[name])
    windows[at] = { jobs = jobs, usd = reserved - released }
  end
  return windows, stored
end

-- The top-ups of one kind of window, those first that end first: lines of kind, amount, end (ms), and the first and
-- the last window that they raise.
local function read_top_ups(policy, kind)
  local found = {}
  for line in string.gmatch(policy.top_ups or '', '[^\n]+') do
    local of, amount, until_at, first, last = string.match(line, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
    if of == kind then
      found[#found + 1] = { left = tonumber(amount), until_at = tonumber(until_at), first = first, last = last }
    end
  end
  return found
end

-- What earlier windows used beyond their budget was taken from the top-ups, as in core.tenants.top_ups.
local function take_from_top_ups(top_ups, window, beyond)
  for _, one in ipairs(top_ups) do
    if one.first <= window and window <= one.last then
      local taken = math.min(one.left, beyond)
      one.left, beyond = one.left - taken, beyond - taken
    end
  end
end

local function limit_with_top_ups(limit, top_ups, key, name, now)
  local windows, stored = {}, {}
  local flat = redis.call('HGETALL', key)
  for at = 1, #flat, 2 do
    if string.sub(flat[at], 1, 1) == string.sub(name, 1, 1) and flat[at] < name then
      windows[#windows + 1], stored[flat[at]] = flat[at], flat[at + 1]
    end
  end
  table.sort(windows)
  for _, window in ipairs(windows) do
    local _, reserved, _, released = parse_reservations(stored[window])
    take_from_top_ups(top_ups, window, math.max(reserved - released - limit, 0))
  end
  for _, one in ipairs(top_ups) do
    if one.until_at > now and one.first <= name and name <= one.last then limit = limit + one.left end
  end
  return limit
end

-- Returns the limits of money of the windows `names`, top-ups included, and the first window of each kind that a
-- top-up needs.
local function read_budgets(policy, key, names, now)
  local budgets, needed = {}, {}
  for at, window in ipairs(WINDOWS) do
    budgets[at] = policy[window.usd]
    local top_ups = policy.top_ups and read_top_ups(policy, window.kind) or {}
    if #top_ups > 0 and budgets[at] then budgets[at] = limit_with_top_ups(budgets[at], top_ups, key, names[at], now) end
    for _, one in ipairs(top_ups) do
      local kind = string.sub(one.first, 1, 1)
      if not needed[kind] or one.first < needed[kind] then needed[kind] = one.first end
    end
  end
  return budgets, needed
end

-- `increment` nil: the request does not count here; only the row is added. `reset` negative: it never resets.
local function check_count(name, limit, used, increment, reset, rows)
  if not limit then return nil end
  local remaining = limit - used - (increment or 0)
  add_row(rows, name, limit, math.max(remaining, 0), math.max(reset, 0))
  if remaining < 0 and increment then return reject(name, reset) end
  return nil
end

-- `resets` are the times until the windows end (ms), -1 for never.
local function check_windows(policy, budgets, used, amount, resets, rows)
  for at, window in ipairs(WINDOWS) do
    local rejection = window.jobs
        and check_count(window.jobs_policy, policy[window.jobs], used[at].jobs, 1, resets[at], rows)
      or check_count(window.usd_policy, budgets[at], used[at].usd, amount, resets[at], rows)
    if rejection then return rejection end
  end
  return nil
end

-- The windows of an API key's own budget: the day and the month.
local function check_key_windows(key, used, amount, resets, rows)
  return check_count('key-usd-per-day', key.usd_per_day, used[1].usd, amount, resets[1], rows)
    or check_count('key-usd-per-month', key.usd_per_month, used[3].usd, amount, resets[3], rows)
end
