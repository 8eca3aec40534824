-- Takes a job in: the key is looked up, every limit checked, the money reserved, the record, its
-- indexes and the ring written; or nothing is. Returns { 'admitted', slot, reserved, rows ... } or
-- { 'unauthenticated' | 'not_permitted' } or { 'refused', policy, retry after in ms or -1, rows ... };
-- a row is { policy, limit, remaining, reset in s }.
-- Protects: 202 means that Redis has the job; no limit is passed by racing requests.
-- USES: names authenticate ring ledger dispatch quota unsent index
-- KEYS: api_key tenant job timeline due states rate day month wallet
-- ARGV: now tenant_name scope id version doc input state created entry
-- ARGV: model priority price limit_at message_template message_ttl ring_due_at
-- ARGV: day_left month_left day_life month_life
-- ARGV: status listed_at reference

local refused_key = authenticate(api_key, tenant, tenant_name, scope, now)
if refused_key then return { refused_key } end
now = tonumber(now)

local policy, rows = read_policy(tenant), {}
local amount = tonumber(price) or tonumber(policy.unknown_price_counts or 0)

local function check_request()
  if policy.models and not may_use(policy.models, model) then return refusal('models') end
  if tonumber(priority) < tonumber(policy.priority or 0) then return refusal('priority') end
  if price == '' and policy.unknown_price == 'refuse' then return refusal('unknown-price') end
  local most = tonumber(policy.usd_per_request)
  if most then
    rows[#rows + 1] = { 'usd-per-request', most, most, 0 }
    if amount > most then return refusal('usd-per-request') end
  end
  local purse = redis.call('HMGET', wallet, 'balance', 'floor')
  local balance, floor = tonumber(purse[1] or ''), tonumber(purse[2] or '')
  if balance and floor and balance < floor then return refusal('wallet') end
  return nil
end

learn(tenant, 'running', policy.running)
learn(tenant, 'weight', policy.weight)
learn_all(tenant_name, model)
local at_once = runs_at_once(tenant_name, model)

local function check_waiting()
  if policy.running then
    local left = tonumber(policy.running) - count('tenant:' .. tenant_name) - (at_once and 1 or 0)
    rows[#rows + 1] = { 'running', policy.running, math.max(left, 0), 0 }
  end
  if not policy.waiting then return nil end
  local waiting = tonumber(redis.call('HGET', NAMES.waiting, tenant_name) or 0)
  local left = tonumber(policy.waiting) - waiting - (at_once and 0 or 1)
  rows[#rows + 1] = { 'waiting', policy.waiting, math.max(left, 0), 0 }
  if left < 0 and not at_once then return refusal('waiting', 5000) end
  return nil
end

local verdict, arrival = check_request(), nil
if not verdict then verdict, arrival = check_rate(policy, rate, now, rows) end
verdict = verdict
  or check_window('day', policy, day, amount, tonumber(day_left), rows)
  or check_window('month', policy, month, amount, tonumber(month_left), rows)
  or check_waiting()

-- Whole numbers in full: Lua would write large ones with an exponent.
local function text(value)
  if type(value) == 'number' and value % 1 == 0 then return string.format('%.0f', value) end
  return tostring(value)
end

local function flattened(answer)
  for _, row in ipairs(rows) do
    for position = 1, 4 do answer[#answer + 1] = text(row[position]) end
  end
  return answer
end

if verdict then return flattened({ 'refused', verdict[1], text(verdict[2]) }) end

if arrival then
  redis.call('SET', rate, string.format('%.3f', arrival), 'PX', math.ceil(arrival - now) + 1000)
end
redis.call('HSET', job, 'version', version, 'doc', doc, 'input', input, 'reserved', amount)
redis.call('RPUSH', timeline, entry)
redis.call('HINCRBY', states, state, 1)
note_unsent(id, '', state, created)
list_job(tenant_name, id, listed_at, status, reference)
for window, life in pairs({ [day] = day_life, [month] = month_life }) do
  if redis.call('HINCRBY', window, 'jobs', 1) == 1 then redis.call('EXPIRE', window, life) end
  redis.call('HINCRBY', window, 'jobs|' .. model, 1)
  if amount > 0 then
    redis.call('HINCRBY', window, 'reserved', amount)
    redis.call('HINCRBY', window, 'reserved|' .. model, amount)
  end
end
if limit_at ~= '' then redis.call('ZADD', due, limit_at, id) end

local bell = { now = now, due_at = ring_due_at, template = message_template, ttl = message_ttl }
if at_once then
  give_slot(tenant_name, model, id, bell)
else
  wait_in_lane(tenant_name, model, id, tonumber(priority))
  dispatch(2, bell)
end
return flattened({ 'admitted', given[id] and '1' or '0', text(amount) })
