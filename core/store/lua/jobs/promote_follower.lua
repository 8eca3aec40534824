-- Turns a follower whose leader ended without a result into a job that is paid for, and makes it the leader.
-- Returns 'stored', 'conflict' (it has changed since), 'not_found',
-- 'other_leader' (the follower has another leader than `expected_leader`, whose end is the reason to promote),
-- 'over_budget' (its tenant's money does not cover it; nothing was written) or
-- 'webhook_config_changed' (as in update_job).
-- Guarantees: of identical requests in flight at most one is paid for; no budget is exceeded.
-- Further KEYS and ARGV: new deliveries (lib/enqueue_delivery.lua).
-- USES: wake_worker enqueue_delivery ledger zadd_batch concurrency fair_queue quota publish_change
-- USES: unsubmitted_index dedup_index followers job_indexes batch webhook_config_version rewritten
-- KEYS: job timeline due states tenant day month account_balance outbox job_deliveries webhooks ...
-- ARGV: expected expected_stamp id version stamp doc entry now tenant_name model priority price? first_deadline?
-- ARGV: message_template message_ttl wake_due_at status_before status index_score expected_leader? config_digest?
-- ARGV: ...

local stored = redis.call('HMGET', job, 'version', 'dedup_key', 'leader', 'batch', 'batch_status', 'stamp', 'key_windows')
if not stored[1] then return 'not_found' end
if stored[1] ~= expected or is_rewritten(stored[6], expected_stamp) then return 'conflict' end
local dedup_key, before = stored[2], stored[3]

local function recheck()
  redis.call('ZADD', due, now, id)
  return 'other_leader'
end

-- Another follower was promoted first. The caller has not seen its state, so the job is checked again.
if before ~= expected_leader then return recheck() end
local current_leader = redis.call('HGET', dedup_key, 'leader')
if current_leader then
  move_followers(before, current_leader)
  return recheck()
end

-- The budgets of the API key that submitted the job. A key that was revoked meanwhile has none left: its jobs go on.
local function read_key_budgets(key_windows)
  local budgets, day_window, month_window = {}, string.match(key_windows, '^(%S+) (%S+)$')
  for kind, window in pairs({ day = day_window, month = month_window }) do
    local digest = string.match(window, '([^:]+):[^:]+$')
    local limit = tonumber(redis.call('HGET', NAMES.api_key .. digest, 'usd_per_' .. kind) or '')
    if limit then budgets[#budgets + 1] = { window = window, limit = limit } end
  end
  return budgets
end

if webhook_config_changed(webhooks, config_digest) then return 'webhook_config_changed' end

local policy = read_policy(tenant)
local amount = amount_of(policy, price)
local key_budgets = read_key_budgets(stored[7] or '')
if check_price(policy, read_account(account_balance), price, amount, #key_budgets > 0, {}) then return 'over_budget' end
for kind, window in pairs({ day = day, month = month }) do
  local limit = policy['usd_per_' .. kind]
  if limit and read_window(window).usd + amount > limit then return 'over_budget' end
end

for _, budget in ipairs(key_budgets) do
  if read_window(budget.window).usd + amount > budget.limit then return 'over_budget' end
end

redis.call('HSET', job, 'version', version, 'doc', doc, 'stamp', stamp)
redis.call('HINCRBY', job, 'reserved', amount)
for _, window in ipairs(append_key_windows({ day, month }, stored[7] or nil)) do
  redis.call('HINCRBY', window, 'reserved', amount)
  redis.call('HINCRBY', window, 'reserved|' .. model, amount)
end
redis.call('RPUSH', timeline, entry)
enqueue_deliveries(outbox, job_deliveries, FIXED_KEYS, FIXED_ARGUMENTS)
redis.call('HINCRBY', states, 'following', -1)
redis.call('HINCRBY', states, 'queued', 1)
update_unsubmitted(id, '', 'queued', now)
if first_deadline ~= '' then redis.call('ZADD', due, first_deadline, id) end
replace_leader(dedup_key, before, id, tenant_name)
update_status_index(tenant_name, id, index_score, status_before, status)
publish_change(id, version, 'queued')
update_batch_counts(job, stored[4], stored[5], status, now)

local wake_options = { now = now, due_at = wake_due_at, template = message_template, ttl = message_ttl }
preload(tenant_name, model, policy)
if can_start_now(tenant_name, model) then
  grant_slot(tenant_name, model, id, wake_options)
else
  enqueue_jobs(tenant_name, { { id = id, model = model, priority = tonumber(priority) } })
  dispatch(2, wake_options)
end
return 'stored'
