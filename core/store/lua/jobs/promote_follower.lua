-- A follower whose leader ended without a result becomes a paid job of its own, and leads in its place.
-- Returns 'stored', 'stale', 'unknown', 'led' (another leads, or led after `instead_of`, whose end is
-- the reason: it follows that one now), or 'over_budget' (its tenant's money does not cover it now;
-- nothing was written), or 'setup_changed' as in advance_job.
-- Protects: of identical requests under way at most one is paid for; no budget is passed.
-- Extra KEYS and ARGV are the new deliveries, as in advance_job.
-- USES: wake_worker enqueue_delivery ledger zadd_batch concurrency fair_queue quota publish_change unsubmitted_index dedup_index followers job_indexes batch webhook_config_version
-- KEYS: job timeline due states tenant day month wallet outbox job_deliveries webhooks ...
-- ARGV: expected id version doc entry now tenant_name model priority price limit_at
-- ARGV: message_template message_ttl ring_due_at status_before status listed_at instead_of mark ...

local FIXED_KEYS, FIXED_ARGUMENTS = 11, 19

local held = redis.call('HMGET', job, 'version', 'once', 'leader', 'batch', 'counted')
if not held[1] then return 'unknown' end
if held[1] ~= expected then return 'stale' end
local once, before = held[2], held[3]

local function look_again()
  redis.call('ZADD', due, now, id)
  return 'led'
end

-- Somebody was first: what became of that one is not known to whoever decided this.
if before ~= instead_of then return look_again() end
local leads = redis.call('HGET', once, 'leader')
if leads then
  follow_another(before, leads)
  return look_again()
end

if setup_changed(tenant, webhooks, mark) then return 'setup_changed' end

local policy = read_policy(tenant)
local amount = amount_of(policy, price)
if check_price(policy, read_purse(wallet), price, amount, {}) then return 'over_budget' end
for kind, window in pairs({ day = day, month = month }) do
  local limit = policy['usd_per_' .. kind]
  if limit and read_window(window).usd + amount > limit then return 'over_budget' end
end

redis.call('HSET', job, 'version', version, 'doc', doc)
redis.call('HINCRBY', job, 'reserved', amount)
for _, window in ipairs({ day, month }) do
  redis.call('HINCRBY', window, 'reserved', amount)
  redis.call('HINCRBY', window, 'reserved|' .. model, amount)
end
redis.call('RPUSH', timeline, entry)
post_all(outbox, job_deliveries, FIXED_KEYS, FIXED_ARGUMENTS)
redis.call('HINCRBY', states, 'following', -1)
redis.call('HINCRBY', states, 'queued', 1)
note_unsent(id, '', 'queued', now)
if limit_at ~= '' then redis.call('ZADD', due, limit_at, id) end
succeed(once, before, id, tenant_name)
relist(tenant_name, id, listed_at, status_before, status)
tell(id, version, 'queued')
note_status(job, held[4], held[5], status, now)

local bell = { now = now, due_at = ring_due_at, template = message_template, ttl = message_ttl }
learn(tenant_name, model, policy)
if runs_at_once(tenant_name, model) then
  give_slot(tenant_name, model, id, bell)
else
  wait_in_lanes(tenant_name, { { id = id, model = model, priority = tonumber(priority) } })
  dispatch(2, bell)
end
return 'stored'
