-- Takes jobs in, one or a batch: the key is looked up, identical requests are found, every limit is
-- checked, the money reserved, the records, their indexes and rings written; or nothing is.
-- Returns { { 'unauthenticated' | 'not_permitted' | 'key_missing' | 'key_reused' } }, or
-- { { 'replayed', id, doc, output } }, or one answer for each job and then the quotas:
-- { 'admitted', slot, reserved, fate, doc, output } or { 'refused', policy, retry after in ms or -1 },
-- and at last rows of { policy, limit, remaining, reset in s }, flat.
-- `whole`: all jobs or none; then those that would fit are told as { 'fits' }. `dry`: nothing is written.
-- An item's `doc` is open at its end; one of three tails closes it, as its fate is.
-- Protects: 202 means that Redis has the job; no limit is passed by racing requests; of identical
-- requests under way at most one is paid for.
-- USES: names authenticate ring ledger dispatch quota unsent once index
-- KEYS: api_key tenant due states rate day month wallet idempotency ...
-- ARGV: now tenant_name scope whole dry key_given key_print subject
-- ARGV: message_template message_ttl ring_due_at day_left month_left day_life month_life ...

local FIXED_KEYS, FIXED_ARGUMENTS = 9, 15
local FIELDS = {
  'id', 'version', 'doc', 'waiting_tail', 'following_tail', 'hit_tail', 'entry', 'following_entry',
  'hit_entry', 'input', 'created', 'model', 'priority', 'price', 'limit_at', 'follow_at',
  'finish_by', 'fingerprint', 'asked', 'usual', 'lifetime', 'place', 'reference',
}

local refused_key = authenticate(api_key, tenant, tenant_name, scope, now)
if refused_key then return { { refused_key } } end
now = tonumber(now)
local policy = read_policy(tenant)

local function replay()
  local earlier = redis.call('GET', idempotency)
  if not earlier then return nil end
  local print, id = string.match(earlier, '^(%S+) (%S+)$')
  if print ~= key_print then return { 'key_reused' } end
  local held = redis.call('HMGET', NAMES.job .. id, 'doc', 'output')
  return { 'replayed', id, held[1] or '', held[2] or '' }
end

if key_given == '1' then
  local answer = replay()
  if answer then return { answer } end
elseif policy.idempotency_required then
  return { { 'key_missing' } }
end

local items, position = {}, FIXED_ARGUMENTS
for index = FIXED_KEYS + 1, #KEYS, 2 do
  local item = { job = KEYS[index], timeline = KEYS[index + 1] }
  for _, field in ipairs(FIELDS) do
    position = position + 1
    item[field] = ARGV[position]
  end
  items[#items + 1] = item
end

-- What is known once for all items, and moves on with each that fits.
local arrival, rated = read_arrival(policy, rate, now), false
local windows = { day = read_window(day), month = read_window(month) }
local waiting, leading = nil, {}
learn(tenant, 'running', policy.running)
learn(tenant, 'weight', policy.weight)
learn_all(tenant_name, items[1].model)

-- Whether the item is paid for, or what serves it instead.
local function find_fate(item)
  local cached = policy.cache_ms or item.lifetime
  local mode = item.asked ~= '' and item.asked or policy.cache or item.usual
  item.fate = 'off'
  if mode == 'off' then return end
  item.once, item.lifetime, item.fate = once_key(policy, tenant_name, item.fingerprint), cached, 'miss'
  local found = look_up(item.once, now)
  if found.output and mode == 'use' then
    item.fate, item.source, item.output, item.saved = 'hit', found.source, found.output, found.cost
  elseif leading[item.once] then
    item.fate, item.source, item.leader_tenant = 'joined', leading[item.once], tenant_name
  elseif found.leader then
    item.fate, item.source, item.leader_tenant = 'joined', found.leader, found.of
  end
end

local function check_price(item, rows)
  if item.price == '' and policy.unknown_price == 'refuse' then return refusal('unknown-price') end
  local most = tonumber(policy.usd_per_request)
  if most then
    rows[#rows + 1] = { 'usd-per-request', most, most, 0 }
    if item.amount > most then return refusal('usd-per-request') end
  end
  local purse = redis.call('HMGET', wallet, 'balance', 'floor')
  local balance, floor = tonumber(purse[1] or ''), tonumber(purse[2] or '')
  if balance and floor and balance < floor then return refusal('wallet') end
  return nil
end

local function check_waiting(item, rows)
  item.at_once = item.paid and runs_at_once(tenant_name, item.model)
  if policy.running then
    local left = tonumber(policy.running) - count('tenant:' .. tenant_name) - (item.at_once and 1 or 0)
    rows[#rows + 1] = { 'running', policy.running, math.max(left, 0), 0 }
  end
  if not policy.waiting then return nil end
  waiting = waiting or tonumber(redis.call('HGET', NAMES.waiting, tenant_name) or 0)
  local waits = item.paid and not item.at_once
  local left = tonumber(policy.waiting) - waiting - (waits and 1 or 0)
  rows[#rows + 1] = { 'waiting', policy.waiting, math.max(left, 0), 0 }
  if left < 0 and waits then return refusal('waiting', 5000) end
  return nil
end

local function check(item, rows)
  item.paid = item.fate == 'miss' or item.fate == 'off'
  item.amount = item.paid and (tonumber(item.price) or tonumber(policy.unknown_price_counts or 0)) or 0
  local counted, verdict, following = item.paid and item.amount or nil, nil, nil
  if policy.models and not may_use(policy.models, item.model) then return refusal('models') end
  if tonumber(item.priority) < tonumber(policy.priority or 0) then return refusal('priority') end
  if item.paid then verdict = check_price(item, rows) end
  if not verdict then verdict, following = check_rate(policy, arrival, now, rows) end
  verdict = verdict
    or check_window('day', policy, windows.day, counted, tonumber(day_left), rows)
    or check_window('month', policy, windows.month, counted, tonumber(month_left), rows)
    or check_waiting(item, rows)
  if not verdict and following then arrival, rated = following, true end
  return verdict
end

local function note_fit(item)
  for _, window in pairs(windows) do
    window.jobs, window.usd = window.jobs + 1, window.usd + item.amount
  end
  if item.fate == 'miss' then leading[item.once] = item.id end
  if item.at_once then
    for _, what in ipairs({ 'all', 'tenant:' .. tenant_name, 'model:' .. item.model }) do
      running[what] = count(what) + 1
    end
  elseif item.paid and waiting then
    waiting = waiting + 1
  end
end

-- Whole numbers in full: Lua would write large ones with an exponent.
local function text(value)
  if type(value) == 'number' and value % 1 == 0 then return string.format('%.0f', value) end
  return tostring(value)
end

local answers, told, all_fit, any_fit = {}, {}, true, false
for index, item in ipairs(items) do
  local rows = {}
  find_fate(item)
  local verdict = check(item, rows)
  if verdict then
    answers[index], all_fit = { 'refused', verdict[1], text(verdict[2]) }, false
    if not any_fit then told = rows end
  else
    item.fits, any_fit, told = true, true, rows
    note_fit(item)
  end
end

-- Tails and entries hold no words of a caller, so that a place to fill in is surely ours.
local function filled(text_with_places, item)
  local source = string.gsub(text_with_places, '@leader@', item.source)
  return (string.gsub(source, '"@saved@"', item.saved ~= '' and item.saved or 'null'))
end

local SHAPES = {
  hit = { state = 'succeeded', status = 'completed', tail = 'hit_tail', entry = 'hit_entry' },
  joined = { state = 'following', status = 'in_queue', tail = 'following_tail', entry = 'following_entry' },
  miss = { state = 'queued', status = 'in_queue', tail = 'waiting_tail', entry = 'entry' },
  off = { state = 'queued', status = 'in_queue', tail = 'waiting_tail', entry = 'entry' },
}

local function write_record(item, shape)
  item.doc = item.doc .. (item.paid and item[shape.tail] or filled(item[shape.tail], item))
  local fields = { 'version', item.version, 'doc', item.doc, 'reserved', item.amount }
  local function add_field(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if item.once and item.fate ~= 'hit' then
    add_field('once', item.once)
    add_field('cache_ms', item.lifetime)
  end
  if item.output then add_field('output', item.output) else add_field('input', item.input) end
  if key_given == '1' and subject == item.id then add_field('idempotency', idempotency) end
  redis.call('HSET', item.job, unpack(fields))
  redis.call('RPUSH', item.timeline, item.paid and item.entry or filled(item[shape.entry], item))
  redis.call('HINCRBY', states, shape.state, 1)
  list_job(tenant_name, item.id, item.place, shape.status, item.reference)
end

local function take_place(item, bell)
  note_unsent(item.id, '', 'queued', item.created)
  if item.limit_at ~= '' then redis.call('ZADD', due, item.limit_at, item.id) end
  if item.once then lead(item.once, item.id, tenant_name) end
  if item.at_once then
    give_slot(tenant_name, item.model, item.id, bell)
  else
    wait_in_lane(tenant_name, item.model, item.id, tonumber(item.priority))
  end
end

local used = {}
local function add_use(field, by) if by ~= 0 then used[field] = (used[field] or 0) + by end end

local function write_item(item, bell)
  write_record(item, SHAPES[item.fate])
  for _, ending in ipairs({ '', '|' .. item.model }) do
    add_use('jobs' .. ending, 1)
    add_use('reserved' .. ending, item.amount)
    if item.fate == 'hit' then
      add_use('reused' .. ending, 1)
      add_use('saved' .. ending, tonumber(item.saved) or 0)
    end
  end
  if item.paid then return take_place(item, bell) end
  redis.call('ZADD', due, item.fate == 'hit' and now or item.follow_at, item.id)
  if item.fate == 'joined' then
    follow(item.source, item.id, item.finish_by)
    if item.leader_tenant == tenant_name then
      hurry(tenant_name, item.model, item.source, tonumber(item.priority))
    end
  end
end

local function write_use()
  for window, life in pairs({ [day] = day_life, [month] = month_life }) do
    for field, by in pairs(used) do
      local sum = redis.call('HINCRBY', window, field, by)
      if field == 'jobs' and sum == by then redis.call('EXPIRE', window, life) end
    end
  end
end

local writes = dry ~= '1' and any_fit and (whole ~= '1' or all_fit)
if writes then
  local bell = { now = now, due_at = ring_due_at, template = message_template, ttl = message_ttl }
  if rated then
    redis.call('SET', rate, string.format('%.3f', arrival), 'PX', math.ceil(arrival - now) + 1000)
  end
  local waits = 0
  for _, item in ipairs(items) do
    if item.fits then
      write_item(item, bell)
      if item.paid and not item.at_once then waits = waits + 1 end
    end
  end
  write_use()
  if key_given == '1' then redis.call('SET', idempotency, key_print .. ' ' .. subject) end
  if waits > 0 then dispatch(waits + 1, bell) end
end

for index, item in ipairs(items) do
  if item.fits and (writes or dry == '1') then
    local slot = (given[item.id] or (not writes and item.at_once)) and '1' or '0'
    answers[index] = { 'admitted', slot, text(item.amount), item.fate, item.paid and '' or item.doc, item.output or '' }
  elseif item.fits then
    answers[index] = { 'fits' }
  end
end
local flat = {}
for _, row in ipairs(told) do
  for position = 1, 4 do flat[#flat + 1] = text(row[position]) end
end
answers[#answers + 1] = flat
return answers
