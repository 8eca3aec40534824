-- Stores a job's next record over the version that was read, and everything that goes with it.
-- Returns 'stored', 'stale' (somebody was first; `heir_stale`: at the heir), 'no_slot' (it may not be
-- submitted yet), 'wanted' (others follow its work, which may go on: it must be handed on) or 'unknown'.
-- 'setup_changed': the callbacks were made for other endpoints than the tenant has now.
-- Protects: no reader sees half of a change; no final state without its callbacks; no slot and no
-- money is left behind by an end.
-- `due_at` 'keep' leaves the job's place in the index as it is: a lease that somebody holds stays.
-- Extra KEYS are record, channel and list of each new delivery; extra ARGV are `entry_count` timeline
-- entries and then id, doc, due and created instant, channel, life and oldest instant of each delivery.
-- With an `heir` its running work, slot and reservation go to that follower in the same step.
-- USES: wake_worker enqueue_delivery ledger zadd_batch concurrency fair_queue publish_change record_run_time unsubmitted_index dedup_index followers job_indexes batch retention transfer_work webhook_config_version
-- KEYS: job timeline due states doubts outbox job_deliveries message bell day month tenant webhooks ...
-- ARGV: expected id version doc before state due_at output ttl now
-- ARGV: message_name message_body message_ttl tenant_name model ended verdict cost
-- ARGV: message_template ring_due_at took kept status_before status listed_at least
-- ARGV: news worth outlives saved
-- ARGV: heir heir_expected heir_version heir_doc heir_tenant heir_entry heir_day heir_month
-- ARGV: heir_status_before heir_status heir_listed_at mark
-- ARGV: entry_count ...

local FIXED_KEYS, FIXED_ARGUMENTS = 13, 43

local FIELDS = {
  'version', 'slot', 'once', 'leader', 'idempotency', 'cache_ms', 'reserved', 'batch', 'counted',
}
local held = redis.call('HMGET', job, unpack(FIELDS))
local once, leader = held[3], held[4]
if not held[1] then return 'unknown' end
if held[1] ~= expected then return 'stale' end
if before == 'queued' and state == 'submitting' and held[2] ~= '1' then return 'no_slot' end
if heir ~= '' then
  if redis.call('HGET', NAMES.job .. heir, 'version') ~= heir_expected then return 'heir_stale' end
elseif once and before == 'running' and (state == 'cancelling' or (state == 'expired' and verdict == 'held')) then
  if is_followed(id) then return 'wanted' end
end
if setup_changed(tenant, webhooks, mark) then return 'setup_changed' end
local dispatching = { now = now, due_at = ring_due_at, template = message_template, ttl = message_ttl }

redis.call('HSET', job, 'version', version, 'doc', doc)
if output ~= '' then redis.call('HSET', job, 'output', output) end
if before ~= state then
  redis.call('HINCRBY', states, before, -1)
  redis.call('HINCRBY', states, state, 1)
  note_unsent(id, before, state, now)
  if state == 'in_doubt' then redis.call('ZADD', doubts, now, id) end
  if before == 'in_doubt' then redis.call('ZREM', doubts, id) end
  forget_input(tenant_name, job, state)
end
relist(tenant_name, id, listed_at, status_before, status)
tell(id, version, state)
if took ~= '' then remember_run(model, took, kept) end
if due_at == '' then redis.call('ZREM', due, id) elseif due_at ~= 'keep' then redis.call('ZADD', due, due_at, id) end

local position = FIXED_ARGUMENTS
for _ = 1, tonumber(entry_count) do
  position = position + 1
  redis.call('RPUSH', timeline, ARGV[position])
end
post_all(outbox, job_deliveries, FIXED_KEYS, position)
if message_name ~= '' then
  ring(message, bell, message_name, message_body, message_ttl, now)
end

local function tell_flight()
  if leader then
    if before == 'following' and state ~= 'following' then unfollow(leader, id) end
    return
  end
  if heir ~= '' then
    inherit(once, id, held[7], {
      id = heir, version = heir_version, doc = heir_doc, tenant = heir_tenant, entry = heir_entry,
      windows = { heir_day, heir_month }, model = model, now = now, life = ttl,
      place = heir_listed_at, status_before = heir_status_before, status = heir_status,
    })
    pass_slot(tenant_name, heir_tenant, dispatching)
    redis.call('HDEL', job, 'slot')
    held[2] = '0'
    return
  end
  if before ~= state and (ended == '1' or state == 'cancelling') then stop_leading(once, id, now) end
  if before ~= state and state == 'succeeded' then
    local own = tonumber(redis.call('HGET', NAMES.tenant .. tenant_name, 'result_ttl') or '') or math.huge
    keep_result(once, id, output, worth, now, math.min(now + held[6], now + own, outlives))
  end
  if news == '1' then wake_followers(id, now) end
end
if once then tell_flight() end
note_status(job, held[8], held[9], status, now, ttl)

if saved ~= '' then
  for _, window in ipairs({ day, month }) do
    for _, ending in ipairs({ '', '|' .. model }) do
      redis.call('HINCRBY', window, 'reused' .. ending, 1)
      redis.call('HINCRBY', window, 'saved' .. ending, saved)
    end
  end
end

if ended == '1' then
  book(job, { day, month }, model, verdict, cost)
  if held[2] == '1' then
    redis.call('HDEL', job, 'slot')
    give_back(tenant_name, model)
    dispatch(4, dispatching)
  else
    leave_lane(tenant_name, model, id)
  end
  keep(job, timeline, job_deliveries, {
    tenant = tenant_name, ttl = ttl, now = now, due_at = due_at, least = least, followed = once and is_followed(id),
    key = held[5],
  })
end
return 'stored'
