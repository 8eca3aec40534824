-- Writes the jobs of admitted items: records, indexes, places in the queue, messages. `writing` has the tenant, the
-- arguments of the script, and what is collected: changes of shared keys are written together, because each command
-- of a script costs time.
-- GIVES: STATUSES new_writing fill_unpaid write_item write_collected

local STATES = { hit = 'succeeded', joined = 'following', miss = 'queued', off = 'queued' }
local STATUSES = { hit = 'completed', joined = 'in_queue', miss = 'in_queue', off = 'in_queue' }

-- `options`: tenant, now, now_text, unpaid_templates, wake_options, and if there are any batch, idempotency (the key's
-- record) with idempotency_target, and key_usage (of an API key with a budget).
local function new_writing(options)
  for _, name in ipairs({ 'scores', 'new_index_sizes', 'states', 'starting', 'queued', 'urgent' }) do options[name] = {} end
  return options
end

-- The word that RunComfy used at the end of the job whose result is reused, as JSON. A job's record is JSON in
-- which a caller's quotes are escaped, so that the pattern finds the field alone.
local function status_word(source_doc, field)
  local word = source_doc and string.match(source_doc, '"' .. field .. '":"([a-z_]+)"')
  return word and '"' .. word .. '"' or 'null'
end

-- `unpaid_templates` has four lines for an item that is not paid for: the end of `doc`, to follow its first
-- `open_length` bytes, for a follower and for a cache hit, and the timeline entries of both. It contains no text of a
-- caller, so that every placeholder in it is the gateway's.
local function fill_unpaid(writing, item)
  local is_hit, saved = item.cache_status == 'hit', item.saved ~= '' and item.saved or 'null'
  local source_doc = is_hit and redis.call('HGET', NAMES.job .. item.source, 'doc')
  local quoted = string.gsub(writing.unpaid_templates, '"@(%l+)@"', {
    saved = saved, status = status_word(source_doc, 'upstream_status'),
    result = status_word(source_doc, 'upstream_result_status'),
  })
  local filled = string.gsub(quoted, '@(%l+)@', {
    leader = item.source, now = writing.now_text, at = item.created_text, check = item.next_run_at_text,
  })
  local joins, served, joined, hit = string.match(filled, '^(.-)\n(.-)\n(.-)\n(.-)$')
  item.next_run_at, item.entry = is_hit and writing.now or item.next_run_at, is_hit and hit or joined
  item.doc = string.sub(item.doc, 1, tonumber(item.open_length)) .. (is_hit and served or joins)
end

local function write_record(writing, item)
  local fields = { 'version', item.version, 'doc', item.doc, 'reserved', item.amount }
  if item.dedup_key and item.cache_status ~= 'hit' then
    append_pair(fields, 'dedup_key', item.dedup_key)
    append_pair(fields, 'cache_ms', item.lifetime)
  end
  if item.cache_status == 'joined' then append_pair(fields, 'leader', item.source) end
  if item.starts_now then append_pair(fields, 'slot', '1') end
  if writing.key_usage then append_pair(fields, 'key_usage', writing.key_usage) end
  append_pair(fields, item.output and 'output' or 'input', item.output or item.input)
  if writing.batch then
    append_pair(fields, 'batch', writing.batch)
    append_pair(fields, 'batch_status', STATUSES[item.cache_status])
  end
  if writing.idempotency and writing.idempotency_target == item.id then
    append_pair(fields, 'idempotency', writing.idempotency)
  end
  redis.call('HSET', NAMES.job .. item.id, unpack(fields))
  redis.call('RPUSH', NAMES.job .. item.id .. ':timeline', item.entry)
  add_stored_bytes(writing.tenant, item.id, #(item.output or item.input))
end

local function add_to(sums, name, by) sums[name] = (sums[name] or 0) + by end

local function collect(writing, key, score, member)
  local flat = writing.scores[key]
  if flat then append_pair(flat, score, member) else writing.scores[key] = { score, member } end
end

-- Adds the item to the tenant's indexes, as `update_status_index` does for one job.
local function index_item(writing, item, status)
  local tenant = writing.tenant
  collect(writing, job_index_of(tenant), item.index_score, item.id)
  if item.reference ~= '' then collect(writing, reference_index_of(tenant), item.reference, item.id) end
  if INDEXED[status] then
    local index_key = job_index_of(tenant, status)
    collect(writing, index_key, item.index_score, item.id)
    add_to(writing.new_index_sizes, index_key, 1)
  end
end

local function add_follower(writing, item)
  collect(writing, NAMES.followers .. item.source, item.deadline, item.id)
  if item.leader_tenant ~= writing.tenant then return end
  local most_urgent = writing.urgent[item.source]
  if not most_urgent or tonumber(item.priority) < tonumber(most_urgent.priority) then
    writing.urgent[item.source] = item
  end
end

local function write_paid_item(writing, item)
  local is_held = item.held_until ~= ''
  collect(writing, NAMES.unsubmitted, is_held and item.held_until or item.created, item.id)
  if item.dedup_key then set_leader(item.dedup_key, item.id, writing.tenant, item.expires, item.held_until) end
  if is_held then
    start_waiting_for('not_before', writing.tenant, item.id, item.price)
    collect(writing, NAMES.due, item.held_until, item.id)
  elseif item.starts_now then
    writing.starting[#writing.starting + 1] = item
  else
    writing.queued[#writing.queued + 1] = item
    if item.first_deadline ~= '' then collect(writing, NAMES.due, item.first_deadline, item.id) end
  end
end

local function write_item(writing, item)
  write_record(writing, item)
  add_to(writing.states, STATES[item.cache_status], 1)
  index_item(writing, item, STATUSES[item.cache_status])
  if item.paid then return write_paid_item(writing, item) end
  collect(writing, NAMES.due, item.next_run_at, item.id)
  if item.cache_status == 'joined' then add_follower(writing, item) end
end

-- Writes what was collected. `load_fair_queue` returns the functions of lib/fair_queue.lua.
local function write_collected(writing, load_fair_queue)
  local tenant, starting, queued = writing.tenant, writing.starting, writing.queued
  for key, flat in pairs(writing.scores) do zadd_all(key, flat) end
  for index_key, number in pairs(writing.new_index_sizes) do copy_index_expiry(index_key, tenant, number) end
  for state, number in pairs(writing.states) do redis.call('HINCRBY', NAMES.states, state, number) end
  if #starting > 0 then start_jobs(tenant, starting, writing.wake_options) end
  if #queued == 0 and not next(writing.urgent) then return end
  local fair_queue = load_fair_queue()
  if #queued > 0 then fair_queue.enqueue_jobs(tenant, queued) end
  for leader, item in pairs(writing.urgent) do
    fair_queue.raise_priority(tenant, item.model, leader, tonumber(item.priority))
  end
  if #queued > 0 then fair_queue.dispatch(#queued + 1, writing.wake_options) end
end
