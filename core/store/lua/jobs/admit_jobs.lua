-- Admits one job, or the items of a small batch. It checks the API key, finds identical requests, checks every
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
-- `unpaid_templates`: see lib/write_items.lua.
-- `batch` is '' without a batch. `rejected_items`: items that were invalid, as JSON pairs of index and problem.
-- Batches get no outputs in the answer.
--
-- Guarantees: after a 202 Redis has the job; concurrent requests together pass no limit; of identical
-- requests in flight at most one is paid for.
-- USES: admission_item authenticate authenticate_call replay zadd_batch concurrency waiting_for usage quota dedup_index
-- USES: job_indexes stored_bytes open_admission cache_status decide_items book_items write_items
-- LATER: load_fair_queue fair_queue
-- LATER: load_batch_parts batch create_batch
-- KEYS: api_key tenant rate usage usage_day key_usage idempotency
-- ARGV: now tenant_name scope address all_or_nothing dry_run has_idempotency_key idempotency_fingerprint
-- ARGV: idempotency_target
-- ARGV: message_template message_ttl wake_due_at
-- ARGV: calendar windows resets oldest_window history_ttl history_day oldest_history_day
-- ARGV: batch batch_doc rejected_items batch_ttl unpaid_templates now_text ...

local call = {
  api_key = api_key, tenant_key = tenant, tenant = tenant_name, scope = scope, address = address, now = now,
  dry_run = dry_run, has_idempotency_key = has_idempotency_key, idempotency = idempotency,
  idempotency_fingerprint = idempotency_fingerprint, calendar = calendar, windows = windows, resets = resets,
  rate = rate, usage = usage, usage_day = usage_day, key_usage = key_usage, oldest_window = oldest_window,
  history_ttl = history_ttl, history_day = history_day, oldest_history_day = oldest_history_day,
}
local answer, policy, key, scopes = check_caller(call)
if answer then return answer end
local admission, items = open_admission(call, policy, key), read_items(ARGV, FIXED_ARGUMENTS)
preload(tenant_name, items[1].model, policy)
local rejections, last_admissible, quota_rows = decide_items(admission, items, resolve_cache_status)
local writes = dry_run ~= '1' and last_admissible and (all_or_nothing ~= '1' or not next(rejections))

-- A block: Lua allows a function 200 local variables at a time.
do
  local claim = has_idempotency_key == '1' and idempotency or nil
  local writing = new_writing({
    tenant = tenant_name, now = now, now_text = now_text, unpaid_templates = unpaid_templates,
    wake_options = { now = now, due_at = wake_due_at, template = message_template, ttl = message_ttl },
    batch = batch ~= '' and batch or nil, idempotency = claim, idempotency_target = idempotency_target,
    key_usage = admission.has_key_budget and key_usage or nil,
  })
  for _, item in ipairs(items) do
    if item.is_admissible and not item.paid then fill_unpaid(writing, item) end
  end
  if writes then
    for _, item in ipairs(items) do
      if item.is_admissible then write_item(writing, item) end
    end
    write_collected(writing, load_fair_queue)
    book_items(admission, items, call)
    if batch ~= '' then
      load_batch_parts().write_batch(items, rejections, STATUSES, {
        id = batch, doc = batch_doc, rejected = rejected_items, tenant = tenant_name, now = now,
        ttl_seconds = batch_ttl, idempotency = claim,
      })
    end
    if claim then redis.call('SET', claim, idempotency_fingerprint .. ' ' .. idempotency_target) end
  end
end

-- An API key without the scope `read` learns that there is a result, but not its output.
local function readable_output(output)
  return output and string.find(scopes, 'read', 1, true) and output or ''
end

local answers = {}
for position, item in ipairs(items) do
  local rejection = rejections[position]
  if rejection then
    answers[position] = { 'refused', rejection[1], tostring(rejection[2]) }
  elseif writes or dry_run == '1' then
    local slot = (started[item.id] or (not writes and item.starts_now)) and 1 or 0
    answers[position] = { 'admitted', slot, item.amount, item.cache_status, item.paid and '' or item.doc,
      batch == '' and readable_output(item.output) or '' }
  else
    answers[position] = { 'fits' }
  end
end
answers[#answers + 1] = quota_rows
return answers
