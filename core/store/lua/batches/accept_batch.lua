-- Accepts a batch whose items `stage_items` stored in parts, or what of it fits, in one decision: it reserves rate,
-- money, slots and places, creates the batch's record, and writes no job: `write_batch_part` does, part by part. If
-- nothing is accepted the stored items are deleted.
--
-- Returns the answers of lib/open_admission.lua that end the call, or { { 'not_staged' } } if stored items have expired,
-- or { 'all_accepted' } and the quotas (see admit_jobs.lua), or one answer for each item, and last the quotas:
-- { 'accepted' }, { 'refused', policy, retry after } or { 'fits' }.
--
-- A `class` is what many items have in common. Behind the classes come the items: class, id, bytes to store, and
-- `lookup`: '' for an item that does not use the cache, what stage_items found, with the fingerprint, or 'unknown'
-- with what a look-up needs.
--
-- Guarantees: concurrent requests together pass no limit; after it the batch is carried out whatever dies.
-- USES: authenticate authenticate_call replay zadd_batch concurrency usage quota open_admission decide_items
-- USES: decide_together book_items
-- USES: dedup_index cache_status batch create_batch batch_parts
-- KEYS: api_key tenant rate usage usage_day key_usage idempotency
-- ARGV: now tenant_name scope address all_or_nothing has_idempotency_key idempotency_fingerprint
-- ARGV: calendar windows resets oldest_window history_ttl history_day oldest_history_day
-- ARGV: batch batch_doc rejected_items batch_ttl part_sizes write_at class_count ...

local CLASS_FIELDS, ITEM_FIELDS = 7, 4

local function read_classes()
  local classes = {}
  for number = 1, tonumber(class_count) do
    local at = FIXED_ARGUMENTS + (number - 1) * CLASS_FIELDS
    local model, price, priority, held_until, rows, archive_rule, archive_default = unpack(ARGV, at + 1, at + CLASS_FIELDS)
    local class = {
      class = number, model = model, price = price, priority = priority, held_until = held_until, rows = rows,
      archive_rule = archive_rule, archive_default = archive_default,
    }
    class.__index = class
    classes[number] = class
  end
  return classes
end

-- Items that use no cache and store nothing that is counted differ in nothing that decides: they are `alike`.
local function read_classed_items(classes, policy)
  local items, are_alike = {}, not policy.stored_bytes
  for at = FIXED_ARGUMENTS + #classes * CLASS_FIELDS, #ARGV - 1, ITEM_FIELDS do
    local class, id, bytes, lookup = unpack(ARGV, at + 1, at + ITEM_FIELDS)
    local item = { id = id, bytes = tonumber(bytes), lookup = lookup }
    items[#items + 1] = setmetatable(item, classes[tonumber(class)])
    if are_alike and lookup == '' then item.alike = classes[tonumber(class)] end
  end
  return items
end

-- An item counts as waiting until it is written: no batch is finished before.
local IN_QUEUE = { hit = 'in_queue', joined = 'in_queue', miss = 'in_queue', off = 'in_queue' }
local FIVE_TEXTS = '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$'

local function look_up(item, admission, requested, default, fingerprint)
  item.requested_mode, item.default_mode, item.fingerprint = requested, default, fingerprint
  resolve_cache_status(item, admission)
  if item.output then item.bytes = #item.output end
end

-- An item joins one before it in its batch that is identical and admissible.
local function read_cache_status(item, admission)
  item.cache_status, item.saved = 'off', ''
  if item.lookup == '' then return end
  local status, first, second, third, fingerprint = string.match(item.lookup, FIVE_TEXTS)
  if status == 'unknown' then return look_up(item, admission, first, second, fingerprint) end
  item.cache_status, item.source, item.leader_tenant, item.saved = status, first, second, third
  item.dedup_key = fingerprint
  if status == 'miss' then
    join_within_batch(item, fingerprint, admission.batch_leaders, admission.tenant, admission.instant)
  end
end

local call = {
  api_key = api_key, tenant_key = tenant, tenant = tenant_name, scope = scope, address = address, now = now,
  has_idempotency_key = has_idempotency_key, idempotency = idempotency,
  idempotency_fingerprint = idempotency_fingerprint, calendar = calendar, windows = windows, resets = resets,
  rate = rate, usage = usage, usage_day = usage_day, key_usage = key_usage, oldest_window = oldest_window,
  history_ttl = history_ttl, history_day = history_day, oldest_history_day = oldest_history_day,
}
local parts = split_words(part_sizes)
local answer, policy, key = check_caller(call)
if answer then
  delete_parts(batch, #parts)
  return answer
end
local admission, classes = open_admission(call, policy, key), read_classes()
local items = read_classed_items(classes, policy)
preload(tenant_name, items[1].model, policy)
local rejections, last_admissible, quota_rows
if #parts > 0 then
  rejections, last_admissible, quota_rows = decide_together(admission, items, classes, read_cache_status)
end
if not rejections then
  rejections, last_admissible, quota_rows = decide_items(admission, items, read_cache_status)
end
local accepts = last_admissible and (all_or_nothing ~= '1' or not next(rejections))
if accepts and not keep_parts(batch, parts, #items) then
  delete_parts(batch, #parts)
  return { { 'not_staged' } }
end
if accepts then
  book_items(admission, items, call)
  reserve_places(admission, items)
  local claim = has_idempotency_key == '1' and idempotency or nil
  write_batch(items, rejections, IN_QUEUE, {
    id = batch, doc = batch_doc, rejected = rejected_items, tenant = tenant_name, now = now, ttl_seconds = batch_ttl,
    idempotency = claim,
  })
  if claim then redis.call('SET', claim, idempotency_fingerprint .. ' ' .. batch) end
  write_rest(items, parts, {
    batch = batch, tenant = tenant_name, usage = usage, usage_day = usage_day, windows = windows,
    key_usage = admission.has_key_budget and key_usage or '', write_at = write_at,
  })
else
  delete_parts(batch, #parts)
end

if accepts and not next(rejections) then return { { 'all_accepted' }, quota_rows } end
local admitted, answers = { accepts and 'accepted' or 'fits' }, {}
for position = 1, #items do
  local rejection = rejections[position]
  if rejection then
    rejection.answer = rejection.answer or { 'refused', rejection[1], tostring(rejection[2]) }
  end
  answers[position] = rejection and rejection.answer or admitted
end
answers[#answers + 1] = quota_rows
return answers
