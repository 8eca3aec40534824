-- Takes jobs in, one or a batch: the key is looked up, identical requests are found, every limit is
-- checked, the money reserved, the records, their indexes and rings written; or nothing is.
-- Returns { { 'unauthenticated' | 'not_permitted' | 'key_missing' | 'key_reused' } }, or
-- { { 'replayed', id, doc, output } }, or one answer for each job and then the quotas:
-- { 'admitted', slot, reserved, fate, doc, output } or { 'refused', policy, retry after in ms or -1 },
-- and at last rows of { policy, limit, remaining, reset in ms }, flat.
-- `whole`: all jobs or none; then those that would fit are told as { 'fits' }. `dry`: nothing is written.
-- An item's `doc` and `entry` are those of a job that is paid for. For one that is not, `unpaid` has four
-- lines with places to fill in: what closes `doc` after its first `open_end` bytes if it joins, and if it
-- is served, and the entries of both.
-- `batch` names the batch that the jobs are, or is empty; `batch_refused` are its items that came not
-- this far, as JSON pairs of place (from 0) and text. Outputs are not told of batches.
-- Protects: 202 means that Redis has the job; no limit is passed by racing requests; of identical
-- requests under way at most one is paid for.
-- USES: authenticate zadd_batch concurrency quota dedup_index job_indexes
-- LATER: open_lanes fair_queue
-- LATER: open_batches batch create_batch
-- KEYS: api_key tenant rate day month idempotency
-- ARGV: now tenant_name scope whole dry key_given key_print subject
-- ARGV: message_template message_ttl ring_due_at day_left month_left day_life month_life
-- ARGV: batch batch_doc batch_refused batch_life unpaid now_text ...
-- ITEM: id version doc open_end entry input created created_text model priority price limit_at finish_by
-- ITEM: look_at look_at_text fingerprint asked usual lifetime place reference

local policy = read_policy(tenant)
local refused_key, scopes = authenticate(api_key, policy.disabled, tenant_name, scope, now)
if refused_key then return { { refused_key } } end
local instant = tonumber(now)

-- A key that may submit and not read learns that there is a result, and not which.
local function readable(output)
  return output and string.find(scopes, 'read', 1, true) and output or ''
end

local function replay(earlier)
  local print, id = string.match(earlier, '^(%S+) (%S+)$')
  if print ~= key_print then return { 'key_reused' } end
  local held = redis.call('HMGET', NAMES.job .. id, 'doc', 'output')
  return { 'replayed', id, held[1] or '', readable(held[2]) }
end

if key_given == '1' then
  local earlier = redis.call('GET', idempotency)
  if earlier then return { replay(earlier) } end
elseif policy.idempotency_required then
  return { { 'key_missing' } }
end

-- What is known once for all items, and moves on with each that fits.
local items = read_items()
local arrival, rated = read_arrival(policy, rate, instant), false
local today, this_month = read_window(day), read_window(month)
local waiting, purse, looked, leading = nil, nil, {}, {}
learn(tenant_name, items[1].model, policy)

-- Whether the item is paid for, or what serves it instead.
local function find_fate(item)
  local mode = item.asked ~= '' and item.asked or policy.cache or item.usual
  item.fate = 'off'
  if mode == 'off' then return end
  local once = once_key(policy, tenant_name, item.fingerprint)
  local found = looked[once] or look_up(once, instant)
  item.once, item.lifetime, item.fate = once, policy.cache_ms or item.lifetime, 'miss'
  looked[once], item.ends = found, found.ends
  if found.output and mode == 'use' then
    item.fate, item.source, item.output, item.saved = 'hit', found.source, found.output, found.cost
  elseif leading[once] then
    item.fate, item.source, item.leader_tenant = 'joined', leading[once], tenant_name
  elseif found.leader then
    item.fate, item.source, item.leader_tenant = 'joined', found.leader, found.of
  end
end

local function check_waiting(item, rows)
  item.at_once = item.paid and runs_at_once(tenant_name, item.model)
  if policy.running then
    local left = policy.running - count('tenant:' .. tenant_name) - (item.at_once and 1 or 0)
    add_row(rows, 'running', policy.running, math.max(left, 0), 0)
  end
  if not policy.waiting then return nil end
  waiting = waiting or tonumber(redis.call('HGET', NAMES.waiting, tenant_name)) or 0
  local waits = item.paid and not item.at_once
  local left = policy.waiting - waiting - (waits and 1 or 0)
  add_row(rows, 'waiting', policy.waiting, math.max(left, 0), 0)
  if left < 0 and waits then return refusal('waiting', 5000) end
  return nil
end

local function check(item, rows)
  item.paid = item.fate == 'miss' or item.fate == 'off'
  item.amount = item.paid and amount_of(policy, item.price) or 0
  local counted, verdict, following = item.paid and item.amount or nil, nil, nil
  if policy.models and not may_use(policy.models, item.model) then return refusal('models') end
  if tonumber(item.priority) < (policy.priority or 0) then return refusal('priority') end
  if item.paid then
    purse = purse or read_purse(NAMES.wallet)
    verdict = check_price(policy, purse, item.price, item.amount, rows)
  end
  if not verdict then verdict, following = check_rate(policy, arrival, instant, rows) end
  verdict = verdict
    or check_window('day', policy, today, counted, tonumber(day_left), rows)
    or check_window('month', policy, this_month, counted, tonumber(month_left), rows)
    or check_waiting(item, rows)
  if not verdict and following then arrival, rated = following, true end
  return verdict
end

local function note_fit(item)
  today.jobs, today.usd = today.jobs + 1, today.usd + item.amount
  this_month.jobs, this_month.usd = this_month.jobs + 1, this_month.usd + item.amount
  if item.fate == 'miss' then leading[item.once] = item.id end
  if item.at_once then
    expect_start(tenant_name, item.model)
  elseif item.paid and waiting then
    waiting = waiting + 1
  end
end

local answers, told, all_fit, any_fit = {}, {}, true, false
for index, item in ipairs(items) do
  local rows = {}
  find_fate(item)
  local verdict = check(item, rows)
  if verdict then
    answers[index], all_fit = { 'refused', verdict[1], tostring(verdict[2]) }, false
    if not any_fit then told = rows end
  else
    item.fits, any_fit, told = true, true, rows
    note_fit(item)
  end
end

-- `unpaid` holds no words of a caller, so that a place to fill in is surely ours.
local function serve_from(item)
  local is_hit, saved = item.fate == 'hit', item.saved ~= '' and item.saved or 'null'
  local filled = string.gsub(string.gsub(unpaid, '"@saved@"', saved), '@(%l+)@', {
    leader = item.source, now = now_text, at = item.created_text, check = item.look_at_text,
  })
  local joins, served, joined, hit = string.match(filled, '^(.-)\n(.-)\n(.-)\n(.-)$')
  item.look_at, item.entry = is_hit and now or item.look_at, is_hit and hit or joined
  item.doc = string.sub(item.doc, 1, tonumber(item.open_end)) .. (is_hit and served or joins)
end

local STATES = { hit = 'succeeded', joined = 'following', miss = 'queued', off = 'queued' }
local STATUSES = { hit = 'completed', joined = 'in_queue', miss = 'in_queue', off = 'in_queue' }

local function write_record(item)
  local fields = { 'version', item.version, 'doc', item.doc, 'reserved', item.amount }
  if item.once and item.fate ~= 'hit' then
    put(fields, 'once', item.once)
    put(fields, 'cache_ms', item.lifetime)
  end
  if item.fate == 'joined' then put(fields, 'leader', item.source) end
  if item.at_once then put(fields, 'slot', '1') end
  put(fields, item.output and 'output' or 'input', item.output or item.input)
  if batch ~= '' then
    put(fields, 'batch', batch)
    put(fields, 'counted', STATUSES[item.fate])
  end
  if key_given == '1' and subject == item.id then put(fields, 'idempotency', idempotency) end
  redis.call('HSET', NAMES.job .. item.id, unpack(fields))
  redis.call('RPUSH', NAMES.job .. item.id .. ':timeline', item.entry)
end

-- What many items change in one place, collected to be written with few commands.
local scores, begun, used, states = {}, {}, {}, {}
local starting, waits, urgent = {}, {}, {}

local function add_to(sums, name, by) if by ~= 0 then sums[name] = (sums[name] or 0) + by end end

local function collect(key, score, member)
  if scores[key] then put(scores[key], score, member) else scores[key] = { score, member } end
end

local function note_use(item, ending)
  add_to(used, 'jobs' .. ending, 1)
  add_to(used, 'reserved' .. ending, item.amount)
  if item.fate == 'hit' then
    add_to(used, 'reused' .. ending, 1)
    add_to(used, 'saved' .. ending, tonumber(item.saved) or 0)
  end
end

-- Where the tenant's jobs are listed: as `relist` does it for one.
local function list(item, status)
  collect(jobs_of(tenant_name), item.place, item.id)
  if item.reference ~= '' then collect(references_of(tenant_name), item.reference, item.id) end
  if LISTED[status] then
    local listed = jobs_of(tenant_name, status)
    collect(listed, item.place, item.id)
    add_to(begun, listed, 1)
  end
end

local function join(item)
  collect(NAMES.followers .. item.source, item.finish_by, item.id)
  if item.leader_tenant ~= tenant_name then return end
  local most = urgent[item.source]
  if not most or tonumber(item.priority) < tonumber(most.priority) then urgent[item.source] = item end
end

local function take_place(item)
  collect(NAMES.unsent, item.created, item.id)
  if item.once then lead(item.once, item.id, tenant_name, item.ends) end
  if item.at_once then
    starting[#starting + 1] = item
  else
    waits[#waits + 1] = item
    if item.limit_at ~= '' then collect(NAMES.due, item.limit_at, item.id) end
  end
end

local function write_item(item)
  write_record(item)
  note_use(item, '')
  note_use(item, '|' .. item.model)
  add_to(states, STATES[item.fate], 1)
  list(item, STATUSES[item.fate])
  if item.paid then return take_place(item) end
  collect(NAMES.due, item.look_at, item.id)
  if item.fate == 'joined' then join(item) end
end

local function write_collected(bell)
  for key, flat in pairs(scores) do write_scores(key, flat) end
  for listed, number in pairs(begun) do end_with_all(listed, tenant_name, number) end
  for state, number in pairs(states) do redis.call('HINCRBY', NAMES.states, state, number) end
  if #starting > 0 then start_jobs(tenant_name, starting, bell) end
  if #waits == 0 and not next(urgent) then return end
  local lanes = open_lanes()
  if #waits > 0 then lanes.wait_in_lanes(tenant_name, waits) end
  for leader, item in pairs(urgent) do
    lanes.hurry(tenant_name, item.model, leader, tonumber(item.priority))
  end
  if #waits > 0 then lanes.dispatch(#waits + 1, bell) end
end

local function write_use(window, life)
  local names, sums, is_new = {}, {}, false
  for name in pairs(used) do names[#names + 1] = name end
  local held = redis.call('HMGET', window, unpack(names))
  for at, name in ipairs(names) do
    is_new = is_new or name == 'jobs' and not held[at]
    put(sums, name, string.format('%d', (tonumber(held[at]) or 0) + used[name]))
  end
  redis.call('HSET', window, unpack(sums))
  if is_new then redis.call('EXPIRE', window, life) end
end

local writes = dry ~= '1' and any_fit and (whole ~= '1' or all_fit)
for _, item in ipairs(items) do
  if item.fits and not item.paid then serve_from(item) end
end
if writes then
  if rated then
    redis.call('SET', rate, string.format('%.3f', arrival), 'PX', math.ceil(arrival - instant) + 1000)
  end
  for _, item in ipairs(items) do
    if item.fits then write_item(item) end
  end
  write_collected({ now = now, due_at = ring_due_at, template = message_template, ttl = message_ttl })
  write_use(day, day_life)
  write_use(month, month_life)
  if batch ~= '' then
    open_batches().write_batch(items, answers, STATUSES, {
      id = batch, doc = batch_doc, refused = batch_refused, tenant = tenant_name, now = now,
      life = batch_life, idempotency = key_given == '1' and idempotency,
    })
  end
  if key_given == '1' then redis.call('SET', idempotency, key_print .. ' ' .. subject) end
end

for index, item in ipairs(items) do
  if item.fits and (writes or dry == '1') then
    local slot = (given[item.id] or (not writes and item.at_once)) and 1 or 0
    answers[index] = { 'admitted', slot, item.amount, item.fate, item.paid and '' or item.doc,
      batch == '' and readable(item.output) or '' }
  elseif item.fits then
    answers[index] = { 'fits' }
  end
end
answers[#answers + 1] = told
return answers
