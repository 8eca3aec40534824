-- Takes jobs in, one or a batch: the key is looked up, identical requests are found, every limit is
-- checked, the money reserved, the records, their indexes and rings written; or nothing is.
-- Returns { { 'unauthenticated' | 'not_permitted' | 'key_missing' | 'key_reused' } }, or
-- { { 'replayed', id, doc, output } }, or one answer for each job and then the quotas:
-- { 'admitted', slot, reserved, fate, doc, output } or { 'refused', policy, retry after in ms or -1 },
-- and at last rows of { policy, limit, remaining, reset in s }, flat.
-- `whole`: all jobs or none; then those that would fit are told as { 'fits' }. `dry`: nothing is written.
-- An item's `doc` is open at its end; one of three tails closes it, as its fate is.
-- `batch` names the batch that the jobs are, or is empty; `batch_refused` are its items that came not
-- this far, as JSON pairs of place (from 0) and text. Outputs are not told of batches.
-- Protects: 202 means that Redis has the job; no limit is passed by racing requests; of identical
-- requests under way at most one is paid for.
-- USES: names authenticate ring ledger bulk dispatch quota unsent once index batch
-- KEYS: api_key tenant due states rate day month wallet idempotency ...
-- ARGV: now tenant_name scope whole dry key_given key_print subject
-- ARGV: message_template message_ttl ring_due_at day_left month_left day_life month_life
-- ARGV: batch batch_doc batch_refused batch_life ...

local FIXED_KEYS, FIXED_ARGUMENTS = 9, 19
local FIELDS = {
  'id', 'version', 'doc', 'waiting_tail', 'following_tail', 'hit_tail', 'entry', 'following_entry',
  'hit_entry', 'input', 'created', 'model', 'priority', 'price', 'limit_at', 'follow_at',
  'finish_by', 'fingerprint', 'asked', 'usual', 'lifetime', 'place', 'reference',
}

local refused_key = authenticate(api_key, tenant, tenant_name, scope, now)
if refused_key then return { { refused_key } } end
now = tonumber(now)
local policy = read_policy(tenant)

-- A key that may submit and not read learns that there is a result, and not which.
local function readable(output)
  if not output or output == '' then return '' end
  return string.find(redis.call('HGET', api_key, 'scopes') or '', 'read', 1, true) and output or ''
end

local function replay()
  local earlier = redis.call('GET', idempotency)
  if not earlier then return nil end
  local print, id = string.match(earlier, '^(%S+) (%S+)$')
  if print ~= key_print then return { 'key_reused' } end
  local held = redis.call('HMGET', NAMES.job .. id, 'doc', 'output')
  return { 'replayed', id, held[1] or '', readable(held[2]) }
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
  item.priority = tonumber(item.priority)
  items[#items + 1] = item
end

-- What is known once for all items, and moves on with each that fits.
local arrival, rated = read_arrival(policy, rate, now), false
local windows = { day = read_window(day), month = read_window(month) }
local waiting, purse, looked, leading = nil, nil, {}, {}
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
  local found = looked[item.once] or look_up(item.once, now)
  looked[item.once] = found
  item.ends = found.ends
  if found.output and mode == 'use' then
    item.fate, item.source, item.output, item.saved = 'hit', found.source, found.output, found.cost
  elseif leading[item.once] then
    item.fate, item.source, item.leader_tenant = 'joined', leading[item.once], tenant_name
  elseif found.leader then
    item.fate, item.source, item.leader_tenant = 'joined', found.leader, found.of
  end
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
  item.amount = item.paid and amount_of(policy, item.price) or 0
  local counted, verdict, following = item.paid and item.amount or nil, nil, nil
  if policy.models and not may_use(policy.models, item.model) then return refusal('models') end
  if item.priority < tonumber(policy.priority or 0) then return refusal('priority') end
  if item.paid then
    purse = purse or read_purse(wallet)
    verdict = check_price(policy, purse, item.price, item.amount, rows)
  end
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

local function close_record(item)
  local tail = item[SHAPES[item.fate].tail]
  item.doc = item.doc .. (item.paid and tail or filled(tail, item))
end

local function write_record(item, shape)
  local fields = { 'version', item.version, 'doc', item.doc, 'reserved', item.amount }
  local function add_field(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if item.once and item.fate ~= 'hit' then
    add_field('once', item.once)
    add_field('cache_ms', item.lifetime)
  end
  if item.fate == 'joined' then add_field('leader', item.source) end
  if item.at_once then add_field('slot', 1) end
  if item.output then add_field('output', item.output) else add_field('input', item.input) end
  if batch ~= '' then
    add_field('batch', batch)
    add_field('counted', shape.status)
  end
  if key_given == '1' and subject == item.id then add_field('idempotency', idempotency) end
  redis.call('HSET', item.job, unpack(fields))
  redis.call('RPUSH', item.timeline, item.paid and item.entry or filled(item[shape.entry], item))
end

local used = {}
local function add_use(field, by) if by ~= 0 then used[field] = (used[field] or 0) + by end end

local function note_use(item)
  for _, ending in ipairs({ '', '|' .. item.model }) do
    add_use('jobs' .. ending, 1)
    add_use('reserved' .. ending, item.amount)
    if item.fate == 'hit' then
      add_use('reused' .. ending, 1)
      add_use('saved' .. ending, tonumber(item.saved) or 0)
    end
  end
end

-- What many items change in one place, collected to be written with few commands.
local scores, begun = {}, {}
local starting, waits, numbers, urgent = {}, {}, {}, {}

local function collect(key, score, member)
  scores[key] = scores[key] or {}
  put(scores[key], score, member)
end

-- Where the tenant's jobs are listed: as `relist` does it for one.
local function list(item, status)
  collect(jobs_of(tenant_name), item.place, item.id)
  if item.reference ~= '' then collect(references_of(tenant_name), item.reference, item.id) end
  if LISTED[status] then
    local listed = jobs_of(tenant_name, status)
    collect(listed, item.place, item.id)
    begun[listed] = (begun[listed] or 0) + 1
  end
end

local function join(item)
  collect(NAMES.followers .. item.source, item.finish_by, item.id)
  if item.leader_tenant ~= tenant_name then return end
  local most = urgent[item.source]
  if not most or item.priority < most.priority then urgent[item.source] = item end
end

local function take_place(item)
  collect(NAMES.unsent, item.created, item.id)
  if item.once then lead(item.once, item.id, tenant_name, item.ends) end
  if item.at_once then
    starting[#starting + 1] = item
  else
    waits[#waits + 1] = item
    if item.limit_at ~= '' then collect(due, item.limit_at, item.id) end
  end
end

local function write_item(item)
  local shape = SHAPES[item.fate]
  write_record(item, shape)
  note_use(item)
  numbers[shape.state] = (numbers[shape.state] or 0) + 1
  list(item, shape.status)
  if item.paid then return take_place(item) end
  collect(due, item.fate == 'hit' and now or item.follow_at, item.id)
  if item.fate == 'joined' then join(item) end
end

local function write_collected(bell)
  for key, flat in pairs(scores) do write_scores(key, flat) end
  for listed, number in pairs(begun) do end_with_all(listed, tenant_name, number) end
  for state, number in pairs(numbers) do redis.call('HINCRBY', states, state, number) end
  if #starting > 0 then start_jobs(tenant_name, starting, bell) end
  if #waits > 0 then wait_in_lanes(tenant_name, waits) end
  for leader, item in pairs(urgent) do hurry(tenant_name, item.model, leader, item.priority) end
  if #waits > 0 then dispatch(#waits + 1, bell) end
end

local function write_use()
  for window, life in pairs({ [day] = day_life, [month] = month_life }) do
    for field, by in pairs(used) do
      local sum = redis.call('HINCRBY', window, field, by)
      if field == 'jobs' and sum == by then redis.call('EXPIRE', window, life) end
    end
  end
end

for _, item in ipairs(items) do
  if item.fits then close_record(item) end
end
-- What became of each item of the batch, in their order.
local function batch_rows()
  local rows, place = {}, 1
  for _, refused in ipairs(cjson.decode(batch_refused)) do rows[refused[1] + 1] = '? ' .. refused[2] end
  for index, item in ipairs(items) do
    while rows[place] do place = place + 1 end
    local no = answers[index]
    rows[place] = item.fits and (item.id .. ' ' .. item.fate) or ('! ' .. no[2] .. ' ' .. no[3])
  end
  return rows
end

-- Batches whose records are gone leave the list as new ones come.
local function list_batch(listed)
  for _, old in ipairs(redis.call('ZRANGE', listed, 0, 2)) do
    if redis.call('EXISTS', NAMES.batch .. old) == 0 then redis.call('ZREM', listed, old) end
  end
  redis.call('ZADD', listed, now, batch)
  redis.call('PERSIST', listed)
end

local function write_batch()
  local record, rows, counts = NAMES.batch .. batch, batch_rows(), { completed = 0, in_queue = 0 }
  for _, item in ipairs(items) do
    local status = item.fits and SHAPES[item.fate].status
    if status then counts[status] = counts[status] + 1 end
  end
  local listed = NAMES.tenant .. tenant_name .. ':batches'
  redis.call('HSET', record, 'doc', batch_doc, 'listed', listed, 'in_queue', counts.in_queue,
    'in_progress', 0, 'completed', counts.completed, 'failed', 0, 'cancelled', 0)
  if key_given == '1' then redis.call('HSET', record, 'idempotency', idempotency) end
  for first = 1, #rows, 1000 do
    redis.call('RPUSH', record .. ':items', unpack(rows, first, math.min(first + 999, #rows)))
  end
  list_batch(listed)
  close_batch(batch, now, batch_life)
end

local writes = dry ~= '1' and any_fit and (whole ~= '1' or all_fit)
if writes then
  local bell = { now = now, due_at = ring_due_at, template = message_template, ttl = message_ttl }
  if rated then
    redis.call('SET', rate, string.format('%.3f', arrival), 'PX', math.ceil(arrival - now) + 1000)
  end
  for _, item in ipairs(items) do
    if item.fits then write_item(item) end
  end
  write_collected(bell)
  write_use()
  if batch ~= '' then write_batch() end
  if key_given == '1' then redis.call('SET', idempotency, key_print .. ' ' .. subject) end
end

for index, item in ipairs(items) do
  if item.fits and (writes or dry == '1') then
    local slot = (given[item.id] or (not writes and item.at_once)) and '1' or '0'
    answers[index] = { 'admitted', slot, text(item.amount), item.fate, item.paid and '' or item.doc,
      batch == '' and readable(item.output) or '' }
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
