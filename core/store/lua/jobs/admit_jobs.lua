-- Admits one job, or the items of a batch. It checks the API key, finds identical requests, checks every
-- limit, reserves the money, and writes records, indexes and messages; or it writes nothing.
--
-- Returns { { 'unauthenticated' | 'not_permitted' | 'key_missing' | 'key_reused' } },
-- or { { 'other_calendar', calendar } } if the tenant's days begin at other times than those of `windows`,
-- or { { 'replayed', id, doc, output } } or { { 'limited ...' } } for a repeated idempotency key,
-- or one answer for each job, and last the quotas as flat rows of { policy, limit, remaining, reset (ms) }:
--   { 'admitted', has slot, reserved, cache status, doc, output }
--   { 'refused', policy, retry after (ms, or -1) }
--   { 'fits' } if the job itself could be admitted, but with `all_or_nothing` another one could not
--
-- `dry_run`: nothing is written.
-- `held_until`: before it a paid job has no place in the queue; '' for one that queues immediately. Only a job that is
-- held as long joins it.
-- `doc` and `entry` of an item are those of a job that is paid for. `unpaid_templates` has four lines for one
-- that is not: the end of `doc`, to follow its first `open_length` bytes, for a follower and for a cache hit,
-- and the timeline entries of both. Their placeholders are replaced here.
-- `batch` is '' without a batch. `rejected_items`: items that were invalid, as JSON pairs of index and problem.
-- Batches get no outputs in the answer.
--
-- Guarantees: after a 202 Redis has the job; concurrent requests together pass no limit; of identical
-- requests in flight at most one is paid for.
-- USES: authenticate authenticate_call replay zadd_batch concurrency waiting_for usage quota dedup_index job_indexes stored_bytes
-- LATER: load_fair_queue fair_queue
-- LATER: load_batch_parts batch create_batch
-- KEYS: api_key tenant rate usage usage_day key_usage idempotency
-- ARGV: now tenant_name scope address all_or_nothing dry_run has_idempotency_key idempotency_fingerprint
-- ARGV: idempotency_target
-- ARGV: message_template message_ttl wake_due_at
-- ARGV: calendar windows resets oldest_window history_ttl history_day oldest_history_day
-- ARGV: batch batch_doc rejected_items batch_ttl unpaid_templates now_text ...
-- ITEM: id version doc open_length entry input created created_text model priority price first_deadline
-- ITEM: deadline
-- ITEM: next_run_at next_run_at_text fingerprint requested_mode default_mode lifetime index_score reference rows
-- ITEM: held_until archive_rule archive_default

local policy = read_policy(tenant)
local auth_error, scopes, key = authenticate(api_key, policy.disabled, tenant_name, scope, now, address)
local is_other_calendar = (policy.calendar or '') ~= calendar
-- Before it is counted: the caller sends it again with the right calendar.
if dry_run == '1' and is_other_calendar and not auth_error then return { { 'other_calendar', policy.calendar or '' } } end
auth_error = auth_error
  or dry_run == '1' and take_call(tenant_name, 'calls-per-minute', policy.calls_per_minute, now)
if auth_error then return { { auth_error } } end
local instant = tonumber(now)

-- An API key without the scope `read` learns that there is a result, but not its output.
local function readable_output(output)
  return output and string.find(scopes, 'read', 1, true) and output or ''
end

if has_idempotency_key == '1' then
  -- A dry run was counted above.
  local calls = dry_run ~= '1' and policy.calls_per_minute or nil
  local replayed = find_replay(idempotency, idempotency_fingerprint, scopes, tenant_name, calls, now)
  if replayed then return { replayed } end
elseif policy.idempotency_required then
  return { { 'key_missing' } }
end

if is_other_calendar then return { { 'other_calendar', policy.calendar or '' } } end

-- State shared by all items, updated with each admissible one.
local items = read_items()
local arrival, uses_rate = read_arrival(policy, rate, instant), false
local window_names, window_resets = split_words(windows), split_words(resets)
for at, left in ipairs(window_resets) do window_resets[at] = tonumber(left) end
local used_windows = read_windows(usage, window_names)
local budgets, needed_windows = read_budgets(policy, usage, window_names, instant)
local has_key_budget = key.usd_per_day or key.usd_per_month
local key_windows = has_key_budget and read_windows(key_usage, window_names)
local stored = policy.stored_bytes and read_stored_bytes(tenant_name) or 0
local waiting, account, dedup_entries, batch_leaders = nil, nil, {}, {}
preload(tenant_name, items[1].model, policy)

-- Whether the item may follow `leader`: a request is not put off by another one that is held longer.
local function can_join(leader, item)
  return leader and math.max(tonumber(item.held_until) or 0, instant) >= (tonumber(leader.held_until) or 0)
end

-- Decides whether the item is paid for, follows a leader, or is a cache hit.
local function resolve_cache_status(item)
  local mode = item.requested_mode ~= '' and item.requested_mode or policy.cache or item.default_mode
  item.cache_status = 'off'
  if mode == 'off' then return end
  local dedup_key = dedup_key_of(policy, tenant_name, item.fingerprint)
  local found = dedup_entries[dedup_key] or read_dedup_entry(dedup_key, instant)
  item.dedup_key, item.lifetime, item.cache_status = dedup_key, policy.cache_ms or item.lifetime, 'miss'
  dedup_entries[dedup_key], item.expires = found, found.expires
  if found.output and mode == 'use' then
    item.cache_status, item.source, item.output, item.saved = 'hit', found.source, found.output, found.cost
  elseif can_join(batch_leaders[dedup_key], item) then
    item.cache_status, item.source, item.leader_tenant = 'joined', batch_leaders[dedup_key].id, tenant_name
  elseif found.leader and can_join(found, item) then
    item.cache_status, item.source, item.leader_tenant = 'joined', found.leader, found.leader_tenant
  end
end

local function check_waiting(item, rows)
  item.starts_now = item.paid and item.held_until == '' and can_start_now(tenant_name, item.model)
  if policy.running then
    local left = policy.running - in_use('tenant:' .. tenant_name) - (item.starts_now and 1 or 0)
    add_row(rows, 'running', policy.running, math.max(left, 0), 0)
  end
  if not policy.waiting then return nil end
  waiting = waiting or (tonumber(redis.call('HGET', NAMES.waiting, tenant_name)) or 0)
    + (tonumber(redis.call('HGET', NAMES.waiting_for, 'tenant:' .. tenant_name)) or 0)
  local queued = item.paid and not item.starts_now
  local left = policy.waiting - waiting - (queued and 1 or 0)
  add_row(rows, 'waiting', policy.waiting, math.max(left, 0), 0)
  if left < 0 and queued then return reject('waiting', 5000) end
  return nil
end

local function check_limits(item, rows)
  item.paid = item.cache_status == 'miss' or item.cache_status == 'off'
  item.amount = item.paid and amount_of(policy, item.price) or 0
  local counted_amount, rejection, new_arrival = item.paid and item.amount or nil, nil, nil
  if policy.models and not is_model_allowed(policy.models, item.model) then return reject('models') end
  if key.models and not matches_any_pattern(key.models, item.model) then return reject('key-models') end
  if tonumber(item.priority) < (policy.priority or 0) then return reject('priority') end
  if item.paid then
    account = account or read_account(NAMES.account_balance)
    rejection = check_price(policy, account, item.price, item.amount, has_key_budget, rows)
      or check_balance(account, item.price, instant)
  end
  if not rejection then rejection, new_arrival = check_rate(policy, arrival, instant, rows) end
  rejection = rejection
    or check_windows(policy, budgets, used_windows, counted_amount, window_resets, rows)
    or has_key_budget and check_key_windows(key, key_windows, counted_amount, window_resets, rows)
    or check_stored_bytes(policy, stored, #(item.output or item.input), rows)
    or check_storage_bytes(policy, item, tenant_name, rows)
    or check_waiting(item, rows)
  if not rejection and new_arrival then arrival, uses_rate = new_arrival, true end
  return rejection
end

local function count_admissible(item)
  for at, used in ipairs(used_windows) do
    used.jobs, used.usd = used.jobs + 1, used.usd + item.amount
    if has_key_budget then key_windows[at].usd = key_windows[at].usd + item.amount end
  end
  stored = stored + #(item.output or item.input)
  if item.cache_status == 'miss' then batch_leaders[item.dedup_key] = item end
  if item.starts_now then
    plan_start(tenant_name, item.model)
  elseif item.paid and waiting then
    waiting = waiting + 1
  end
end

local answers, quota_rows, all_admissible, any_admissible = {}, {}, true, false
for index, item in ipairs(items) do
  local rows = {}
  resolve_cache_status(item)
  local rejection = check_limits(item, rows)
  if rejection then
    answers[index], all_admissible = { 'refused', rejection[1], tostring(rejection[2]) }, false
    if not any_admissible then quota_rows = rows end
  else
    item.is_admissible, any_admissible, quota_rows = true, true, rows
    count_admissible(item)
  end
end

-- The word that RunComfy used at the end of the job whose result is reused, as JSON. A job's record is JSON in
-- which a caller's quotes are escaped, so that the pattern finds the field alone.
local function status_word(source_doc, field)
  local word = source_doc and string.match(source_doc, '"' .. field .. '":"([a-z_]+)"')
  return word and '"' .. word .. '"' or 'null'
end

-- `unpaid_templates` contains no text of a caller, so that every placeholder in it is the gateway's.
local function fill_unpaid(item)
  local is_hit, saved = item.cache_status == 'hit', item.saved ~= '' and item.saved or 'null'
  local source_doc = is_hit and redis.call('HGET', NAMES.job .. item.source, 'doc')
  local quoted = string.gsub(unpaid_templates, '"@(%l+)@"', {
    saved = saved, status = status_word(source_doc, 'upstream_status'),
    result = status_word(source_doc, 'upstream_result_status'),
  })
  local filled = string.gsub(quoted, '@(%l+)@', {
    leader = item.source, now = now_text, at = item.created_text, check = item.next_run_at_text,
  })
  local joins, served, joined, hit = string.match(filled, '^(.-)\n(.-)\n(.-)\n(.-)$')
  item.next_run_at, item.entry = is_hit and now or item.next_run_at, is_hit and hit or joined
  item.doc = string.sub(item.doc, 1, tonumber(item.open_length)) .. (is_hit and served or joins)
end

local STATES = { hit = 'succeeded', joined = 'following', miss = 'queued', off = 'queued' }
local STATUSES = { hit = 'completed', joined = 'in_queue', miss = 'in_queue', off = 'in_queue' }

local function write_record(item)
  local fields = { 'version', item.version, 'doc', item.doc, 'reserved', item.amount }
  if item.dedup_key and item.cache_status ~= 'hit' then
    append_pair(fields, 'dedup_key', item.dedup_key)
    append_pair(fields, 'cache_ms', item.lifetime)
  end
  if item.cache_status == 'joined' then append_pair(fields, 'leader', item.source) end
  if item.starts_now then append_pair(fields, 'slot', '1') end
  if has_key_budget then append_pair(fields, 'key_usage', key_usage) end
  append_pair(fields, item.output and 'output' or 'input', item.output or item.input)
  if batch ~= '' then
    append_pair(fields, 'batch', batch)
    append_pair(fields, 'batch_status', STATUSES[item.cache_status])
  end
  if has_idempotency_key == '1' and idempotency_target == item.id then
    append_pair(fields, 'idempotency', idempotency)
  end
  redis.call('HSET', NAMES.job .. item.id, unpack(fields))
  redis.call('RPUSH', NAMES.job .. item.id .. ':timeline', item.entry)
  set_stored_bytes(tenant_name, item.id, #(item.output or item.input))
end

-- Changes of shared keys are collected and written together: each command of a script costs time.
local scores, new_index_sizes, states = {}, {}, {}
local all_usage, history, history_rows = parse_usage(''), {}, {}
local starting, queued, urgent = {}, {}, {}

local function add_to(sums, name, by) if by ~= 0 then sums[name] = (sums[name] or 0) + by end end

local function collect(key, score, member)
  if scores[key] then append_pair(scores[key], score, member) else scores[key] = { score, member } end
end

local function add_usage(item)
  -- A job that is served from the cache has ended, for nothing.
  local facts = item.cache_status == 'hit' and '1 0 0 1 ' .. (tonumber(item.saved) and item.saved or '0') or ''
  local counted = usage_of_job(facts, { item.amount, 0, 0 })
  add_numbers(all_usage, counted)
  for _, row in ipairs(split_lines(item.rows)) do
    if not history[row] then history[row], history_rows[#history_rows + 1] = parse_usage(''), row end
    add_numbers(history[row], counted)
  end
end

-- Adds the item to the tenant's indexes, as `update_status_index` does for one job.
local function index_item(item, status)
  collect(job_index_of(tenant_name), item.index_score, item.id)
  if item.reference ~= '' then collect(reference_index_of(tenant_name), item.reference, item.id) end
  if INDEXED[status] then
    local index_key = job_index_of(tenant_name, status)
    collect(index_key, item.index_score, item.id)
    add_to(new_index_sizes, index_key, 1)
  end
end

local function add_follower(item)
  collect(NAMES.followers .. item.source, item.deadline, item.id)
  if item.leader_tenant ~= tenant_name then return end
  local most_urgent = urgent[item.source]
  if not most_urgent or tonumber(item.priority) < tonumber(most_urgent.priority) then urgent[item.source] = item end
end

local function admit_paid_item(item)
  local is_held = item.held_until ~= ''
  collect(NAMES.unsubmitted, is_held and item.held_until or item.created, item.id)
  if item.dedup_key then set_leader(item.dedup_key, item.id, tenant_name, item.expires, item.held_until) end
  if is_held then
    start_waiting_for('not_before', tenant_name, item.id, item.price)
    collect(NAMES.due, item.held_until, item.id)
  elseif item.starts_now then
    starting[#starting + 1] = item
  else
    queued[#queued + 1] = item
    if item.first_deadline ~= '' then collect(NAMES.due, item.first_deadline, item.id) end
  end
end

local function write_item(item)
  write_record(item)
  add_usage(item)
  add_to(states, STATES[item.cache_status], 1)
  index_item(item, STATUSES[item.cache_status])
  if item.paid then return admit_paid_item(item) end
  collect(NAMES.due, item.next_run_at, item.id)
  if item.cache_status == 'joined' then add_follower(item) end
end

local function write_collected(wake_options)
  for key, flat in pairs(scores) do zadd_all(key, flat) end
  for index_key, number in pairs(new_index_sizes) do copy_index_expiry(index_key, tenant_name, number) end
  for state, number in pairs(states) do redis.call('HINCRBY', NAMES.states, state, number) end
  if #starting > 0 then start_jobs(tenant_name, starting, wake_options) end
  if #queued == 0 and not next(urgent) then return end
  local fair_queue = load_fair_queue()
  if #queued > 0 then fair_queue.enqueue_jobs(tenant_name, queued) end
  for leader, item in pairs(urgent) do
    fair_queue.raise_priority(tenant_name, item.model, leader, tonumber(item.priority))
  end
  if #queued > 0 then fair_queue.dispatch(#queued + 1, wake_options) end
end

local function write_usage()
  add_to_windows(usage, window_names, all_usage, oldest_window, needed_windows)
  if has_key_budget and add_to_windows(key_usage, window_names, all_usage, oldest_window) then
    redis.call('EXPIRE', key_usage, history_ttl)
  end
  add_to_history(usage_day, history_rows, history,
    { ttl = history_ttl, number = history_day, oldest = oldest_history_day, tenant = tenant_name })
end

local writes = dry_run ~= '1' and any_admissible and (all_or_nothing ~= '1' or all_admissible)
for _, item in ipairs(items) do
  if item.is_admissible and not item.paid then fill_unpaid(item) end
end
if writes then
  if uses_rate then
    redis.call('SET', rate, string.format('%.3f', arrival), 'PX', math.ceil(arrival - instant) + 1000)
  end
  for _, item in ipairs(items) do
    if item.is_admissible then write_item(item) end
  end
  write_collected({ now = now, due_at = wake_due_at, template = message_template, ttl = message_ttl })
  write_usage()
  if batch ~= '' then
    load_batch_parts().write_batch(items, answers, STATUSES, {
      id = batch, doc = batch_doc, rejected = rejected_items, tenant = tenant_name, now = now,
      ttl_seconds = batch_ttl, idempotency = has_idempotency_key == '1' and idempotency,
    })
  end
  if has_idempotency_key == '1' then
    redis.call('SET', idempotency, idempotency_fingerprint .. ' ' .. idempotency_target)
  end
end

for index, item in ipairs(items) do
  if item.is_admissible and (writes or dry_run == '1') then
    local slot = (started[item.id] or (not writes and item.starts_now)) and 1 or 0
    answers[index] = { 'admitted', slot, item.amount, item.cache_status, item.paid and '' or item.doc,
      batch == '' and readable_output(item.output) or '' }
  elseif item.is_admissible then
    answers[index] = { 'fits' }
  end
end
answers[#answers + 1] = quota_rows
return answers
