-- Writes the jobs of the next part of an accepted batch. What was reserved for them is given back first: they take it
-- as any job does. An item whose identical request was found or lost since the decision is not paid for in its place,
-- as a job that had joined.
--
-- Returns {} if no part is left, or { number of the part, number of parts, answers }: for each admitted item
-- { has slot, reserved, cache status, doc }.
--
-- Guarantees: each part is written once, by the process that is first.
-- USES: admission_item zadd_batch concurrency waiting_for usage quota dedup_index job_indexes stored_bytes cache_status
-- USES: book_items write_items batch batch_parts
-- LATER: load_fair_queue fair_queue
-- FLAGS: allow-oom
-- KEYS: record items rest
-- ARGV: batch now message_template message_ttl wake_due_at batch_ttl unpaid_templates now_text write_at

local stored = redis.call('HMGET', rest, 'tenant', 'usage', 'usage_day', 'windows', 'key_usage', 'parts', 'written')
if not stored[1] then
  redis.call('ZREM', NAMES.unwritten_batches, batch)
  return {}
end
local tenant_name, window_names, key_usage = stored[1], split_words(stored[4]), stored[5] ~= '' and stored[5] or nil
local part_count, number = tonumber(stored[6]), tonumber(stored[7]) + 1
local part = part_key(batch, number)
local found = read_items(redis.call('LRANGE', part, 0, -1), 0)

local writing = new_writing({
  tenant = tenant_name, now = now, now_text = now_text, unpaid_templates = unpaid_templates, batch = batch,
  key_usage = key_usage,
  wake_options = { now = now, due_at = wake_due_at, template = message_template, ttl = message_ttl },
})
local policy, freed = read_policy(NAMES.tenant .. tenant_name), {}

local function read_part()
  local position = 0
  for line in string.gmatch(redis.call('HGET', rest, 'part:' .. number) .. '\n', '([^\n]*)\n') do
    position = position + 1
    found[position].reservation = parse_reservation(line)
  end
end

local function give_back()
  local waits, bytes, starts = 0, 0, {}
  for _, item in ipairs(found) do
    local reservation = item.reservation
    if reservation then
      waits, bytes = waits + reservation.waits, bytes + reservation.bytes
      if reservation.starts then starts[item.model] = (starts[item.model] or 0) + 1 end
    end
  end
  if waits > 0 then add_to_counter(NAMES.waiting_for, 'tenant:' .. tenant_name, -waits) end
  if bytes > 0 then redis.call('HINCRBY', NAMES.stored_bytes .. tenant_name, '@total', -bytes) end
  for model, count in pairs(starts) do
    for _, target in ipairs({ 'all', 'tenant:' .. tenant_name, 'model:' .. model }) do
      running[target] = add_to_counter(NAMES.running, target, -count)
    end
  end
end

-- The look-up of the moment decides, but no item is paid for that has no reservation: that one follows the request
-- that the decision found.
local function settle_cache_status(item)
  local reservation, admission = item.reservation, {
    tenant = tenant_name, policy = policy, instant = tonumber(now), dedup_entries = {}, batch_leaders = {},
  }
  resolve_cache_status(item, admission)
  local was_paid = reservation.cache_status == 'miss' or reservation.cache_status == 'off'
  item.paid = item.cache_status == 'miss' or item.cache_status == 'off'
  if item.paid and not was_paid then
    item.paid, item.cache_status, item.source = false, 'joined', reservation.source
    item.leader_tenant, item.output = reservation.leader_tenant, nil
    item.dedup_key = item.dedup_key or dedup_key_of(policy, tenant_name, item.fingerprint)
    item.lifetime = policy.cache_ms or item.lifetime
  end
  item.amount = item.paid and reservation.amount or 0
  item.starts_now = item.paid and reservation.starts
end

local function book_change(item, after)
  local reservation = item.reservation
  local before = usage_of_job(facts_of(reservation.cache_status, reservation.saved), { reservation.amount, 0, 0 })
  book_usage({
    usage = stored[2], key_usage = key_usage, day = stored[3], windows = window_names, rows = split_lines(item.rows),
  }, subtract_numbers(after, before))
end

local function status_by_index(id)
  for status in pairs(INDEXED) do
    if redis.call('ZSCORE', job_index_of(tenant_name, status), id) then return status end
  end
  return 'completed'
end

-- A job that the journal brought back is there already, with a reservation and a slot of its own, and may have ended.
local function keep_restored(item)
  local job, counted_as = NAMES.job .. item.id, 'in_queue'
  redis.call('HSET', job, 'batch', batch, 'batch_status', counted_as)
  update_batch_counts(job, batch, counted_as, status_by_index(item.id), now, batch_ttl)
  book_change(item, {})
  if item.reservation.starts then freed[#freed + 1] = item.model end
end

local hits = 0
local function write_reserved(item)
  settle_cache_status(item)
  local reservation = item.reservation
  if item.cache_status ~= reservation.cache_status then
    redis.call('LSET', items, reservation.row - 1, item.id .. ' ' .. item.cache_status)
  end
  book_change(item, usage_of_item(item))
  if not item.paid then fill_unpaid(writing, item) end
  if item.cache_status == 'hit' then hits = hits + 1 end
  if reservation.starts and not item.starts_now then freed[#freed + 1] = item.model end
  write_item(writing, item)
end

local function dispatch_freed()
  if #freed == 0 then return end
  local fair_queue = load_fair_queue()
  refresh_tenant(tenant_name)
  for _, model in ipairs(freed) do refresh_model(model) end
  fair_queue.dispatch(#freed + 1, writing.wake_options)
end

-- The keys of a tenant that was deleted meanwhile end with its record.
local function expire_with_tenant()
  local left = redis.call('PTTL', NAMES.tenant .. tenant_name)
  if left < 0 then return end
  local owned = { job_index_of(tenant_name), reference_index_of(tenant_name), NAMES.stored_bytes .. tenant_name }
  for status in pairs(INDEXED) do owned[#owned + 1] = job_index_of(tenant_name, status) end
  for _, key in ipairs(owned) do
    if redis.call('PTTL', key) == -1 then redis.call('PEXPIRE', key, left) end
  end
end

local function finish_part()
  redis.call('UNLINK', part)
  redis.call('HDEL', rest, 'part:' .. number)
  redis.call('HSET', rest, 'written', number)
  if hits > 0 then
    redis.call('HINCRBY', record, 'in_queue', -hits)
    redis.call('HINCRBY', record, 'completed', hits)
  end
  if number < part_count then return redis.call('ZADD', NAMES.unwritten_batches, 'XX', write_at, batch) end
  redis.call('DEL', rest)
  redis.call('ZREM', NAMES.unwritten_batches, batch)
  complete_if_finished(batch, now, batch_ttl)
end

read_part()
give_back()
local answers = {}
for _, item in ipairs(found) do
  if item.reservation then
    if redis.call('EXISTS', NAMES.job .. item.id) == 1 then keep_restored(item) else write_reserved(item) end
    answers[#answers + 1] = item
  end
end
write_collected(writing, load_fair_queue)
dispatch_freed()
expire_with_tenant()
finish_part()
for position, item in ipairs(answers) do
  answers[position] = { started[item.id] and 1 or 0, item.amount or 0, item.cache_status or item.reservation.cache_status,
    item.paid ~= false and '' or item.doc }
end
return { number, part_count, answers }
