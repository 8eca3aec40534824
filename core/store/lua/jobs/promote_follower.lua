-- Turns a follower whose leader ended without a result into a job that is paid for, and makes it the leader.
-- Returns 'stored', 'conflict' (it has changed since), 'not_found',
-- 'other_leader' (the follower has another leader than `expected_leader`, whose end is the reason to promote),
-- 'over_budget' (its tenant's money does not cover it; nothing was written) or
-- 'webhook_config_changed' (as in update_job).
-- Guarantees: of identical requests in flight at most one is paid for; no budget is exceeded.
-- Further KEYS and ARGV: new deliveries (lib/enqueue_delivery.lua).
-- USES: wake_worker enqueue_delivery usage zadd_batch concurrency fair_queue quota publish_change
-- USES: unsubmitted_index dedup_index followers job_indexes batch webhook_config_version rewritten
-- FLAGS: allow-oom
-- KEYS: job timeline due states tenant usage usage_day account_balance outbox job_deliveries webhooks ...
-- ARGV: expected expected_stamp id version stamp doc entry now tenant_name model priority price? first_deadline?
-- ARGV: message_template message_ttl wake_due_at status_before status index_score expected_leader? config_digest? windows rows
-- ARGV: ...

local stored = redis.call('HMGET', job, 'version', 'dedup_key', 'leader', 'batch', 'batch_status', 'stamp', 'key_usage')
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

-- The limits of the API key that submitted the job, if it has a budget. A key that was revoked meanwhile has none left:
-- its jobs go on.
local function read_key_limits(key_usage)
  local digest = string.match(key_usage or '', '[^:]+$')
  if not digest then return {} end
  local found = redis.call('HMGET', NAMES.api_key .. digest, 'usd_per_day', 'usd_per_month')
  return { usd_per_day = tonumber(found[1] or ''), usd_per_month = tonumber(found[2] or '') }
end

if webhook_config_changed(webhooks, config_digest) then return 'webhook_config_changed' end

local policy = read_policy(tenant)
local amount = amount_of(policy, price)
local key_usage = stored[7] or nil
local key, window_names, never = read_key_limits(key_usage), split_words(windows), { -1, -1, -1, -1 }
local has_key_budget = key.usd_per_day or key.usd_per_month
if check_price(policy, read_account(account_balance), price, amount, has_key_budget, {}) then return 'over_budget' end
-- It counts as a job since its admission.
local budgets, used = read_budgets(policy, usage, window_names, tonumber(now)), read_windows(usage, window_names)
if check_windows({}, budgets, used, amount, never, {})
    or has_key_budget and check_key_windows(key, read_windows(key_usage, window_names), amount, never, {}) then
  return 'over_budget'
end

redis.call('HSET', job, 'version', version, 'doc', doc, 'stamp', stamp)
redis.call('HINCRBY', job, 'reserved', amount)
book_usage({ usage = usage, key_usage = key_usage, day = usage_day, windows = window_names, rows = split_lines(rows) },
  usage_of_reservation(amount))
redis.call('RPUSH', timeline, entry)
enqueue_deliveries(outbox, job_deliveries, FIXED_KEYS, FIXED_ARGUMENTS)
redis.call('HINCRBY', states, 'following', -1)
redis.call('HINCRBY', states, 'queued', 1)
update_unsubmitted(id, '', 'queued', now)
-- A follower's score is when it reads its leader next: a job that waits for a slot runs for its deadline only.
if first_deadline == '' then redis.call('ZREM', due, id) else redis.call('ZADD', due, first_deadline, id) end
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
