-- Stores a job's next record over the version that was read, with everything that changes with it.
-- Returns 'stored', or without writing anything:
--   'conflict'                it has changed since
--   'successor_conflict'      the successor has changed since
--   'no_slot'                 it may not be submitted before it has a slot
--   'has_followers'           others wait for its running work, which must be handed over to one of them
--   'upstream_id_taken'       RunComfy's request belongs to another job, or did (`if_free`)
--   'webhook_config_changed'  the deliveries were made for other endpoints than the tenant has now
--   'not_found'
-- `archive_at`: when its outputs are to be kept; 'none' if nothing is left to keep, '' if that does not change.
-- `due_at`: when the job runs next; 'keep' keeps the score, and with it another worker's lease; '' for never.
-- `settlement_status` and what a job cost come with a job that has ended; `usage_before` and `usage_after` if it counts
-- differently after the change, with the keys and names under which it counts.
-- `successor`: the follower that takes over the running work, its slot and its reservation in the same step.
-- Further KEYS and ARGV: new deliveries (lib/enqueue_delivery.lua).
-- Guarantees: no reader sees half of a change; no final state is stored without its deliveries; a finished job
-- leaves no slot and no reservation behind.
-- USES: wake_worker enqueue_delivery usage ledger zadd_batch concurrency fair_queue publish_change record_run_time
-- USES: unsubmitted_index dedup_index followers job_indexes batch retention stored_bytes transfer_work
-- USES: webhook_config_version rewritten count_claim waiting_for upstream_ids charges
-- FLAGS: allow-oom
-- KEYS: job timeline due states in_doubt outbox job_deliveries message wake_queue webhooks ...
-- ARGV: expected expected_stamp id version stamp doc before state due_at output? ttl now
-- ARGV: message_name? message_body? message_ttl tenant_name model is_final settlement_status? cost?
-- ARGV: message_template wake_due_at run_time? max_run_times? status_before status index_score min_ttl
-- ARGV: shared_cost? output_expires_at? usage_before? usage_after? usage? usage_day? windows? rows?
-- ARGV: successor? successor_expected? successor_expected_stamp? successor_stamp? successor_version? successor_doc? successor_tenant?
-- ARGV: successor_entry? successor_usage? successor_usage_day? successor_windows? successor_rows? successor_status_before? successor_status?
-- ARGV: successor_index_score? config_digest? entry? waiting_before? waiting_for? price? priority refusal_charged?
-- ARGV: upstream_id? if_free? upstream_id_ttl? archive_at? archive_since? kept_until? charge? ...

local FIELDS = {
  'version', 'slot', 'dedup_key', 'leader', 'idempotency', 'cache_ms', 'reserved', 'batch', 'batch_status', 'stamp',
  'key_usage', 'settled', 'released',
}
local stored = redis.call('HMGET', job, unpack(FIELDS))
local dedup_key, leader = stored[3], stored[4]
if not stored[1] then return 'not_found' end
if stored[1] ~= expected or is_rewritten(stored[10], expected_stamp) then return 'conflict' end
if before == 'queued' and state == 'submitting' and stored[2] ~= '1' then return 'no_slot' end
if successor ~= '' then
  local found = redis.call('HMGET', NAMES.job .. successor, 'version', 'stamp')
  if found[1] ~= successor_expected or is_rewritten(found[2], successor_expected_stamp) then
    return 'successor_conflict'
  end
elseif dedup_key and before == 'running'
    and (state == 'cancelling' or (state == 'expired' and settlement_status == 'held')) then
  if has_followers(id) then return 'has_followers' end
end
if if_free == '1' and is_of_another_job(upstream_id, id) then return 'upstream_id_taken' end
if webhook_config_changed(webhooks, config_digest) then return 'webhook_config_changed' end
local wake_options = { now = now, due_at = wake_due_at, template = message_template, ttl = message_ttl }

redis.call('HSET', job, 'version', version, 'doc', doc, 'stamp', stamp)
if output ~= '' then redis.call('HSET', job, 'output', output) end
if before ~= state then
  redis.call('HINCRBY', states, before, -1)
  redis.call('HINCRBY', states, state, 1)
  update_unsubmitted(id, before, state, now)
  if state == 'submitting' then count_claim(id .. ' ' .. stamp) end
  if state == 'in_doubt' then redis.call('ZADD', in_doubt, now, id) end
  if before == 'in_doubt' then redis.call('ZREM', in_doubt, id) end
  delete_input(tenant_name, job, state)
  -- A cancel without a charge would otherwise fill the store for nothing.
  if state == 'cancelled' and settlement_status == 'free' then redis.call('HDEL', job, 'input') end
end
if before ~= state or output ~= '' then count_stored_bytes(tenant_name, id, job) end
update_status_index(tenant_name, id, index_score, status_before, status)
publish_change(id, version, state)
if run_time ~= '' then record_run_time(model, run_time, max_run_times) end
if refusal_charged ~= '' then
  redis.call('HINCRBY', NAMES.refusal_costs, (refusal_charged == '1' and 'charged|' or 'free|') .. model, 1)
end
if due_at == '' then redis.call('ZREM', due, id) elseif due_at ~= 'keep' then redis.call('ZADD', due, due_at, id) end
if archive_at == 'none' then
  redis.call('ZREM', NAMES.archives, id)
  redis.call('ZREM', NAMES.unarchived, id)
elseif archive_at ~= '' then
  redis.call('ZADD', NAMES.archives, archive_at, id)
  redis.call('ZADD', NAMES.unarchived, archive_since, id)
end

if upstream_id ~= '' then remember_upstream_id(upstream_id, id, upstream_id_ttl) end
if entry ~= '' then redis.call('RPUSH', timeline, entry) end
enqueue_deliveries(outbox, job_deliveries, FIXED_KEYS, FIXED_ARGUMENTS)
if message_name ~= '' then
  wake_worker(message, wake_queue, message_name, message_body, message_ttl, now)
end

local function update_coalescing()
  if leader then
    if before == 'following' and state ~= 'following' then unfollow(leader, id) end
    return
  end
  if successor ~= '' then
    transfer_work(dedup_key, id, stored[7], {
      id = successor, version = successor_version, stamp = successor_stamp, doc = successor_doc,
        tenant = successor_tenant, entry = successor_entry,
      booking = {
        usage = successor_usage, day = successor_usage_day, windows = split_words(successor_windows),
        rows = split_lines(successor_rows),
      },
      model = model, now = now, ttl_seconds = ttl,
      index_score = successor_index_score, status_before = successor_status_before, status = successor_status,
    })
    transfer_slot(tenant_name, successor_tenant, wake_options)
    redis.call('HDEL', job, 'slot')
    stored[2] = '0'
    return
  end
  if before ~= state and (is_final == '1' or state == 'cancelling') then clear_leader(dedup_key, id, now) end
  if before ~= state and state == 'succeeded' then
    local tenant_ttl = tonumber(redis.call('HGET', NAMES.tenant .. tenant_name, 'result_ttl') or '') or math.huge
    cache_result(dedup_key, id, output, shared_cost, now,
      math.min(now + stored[6], now + tenant_ttl, output_expires_at))
  end
  if status ~= status_before or (is_final == '1' and before ~= state) then wake_followers(id, now) end
end
if dedup_key then update_coalescing() end
update_batch_counts(job, stored[8], stored[9], status, now, ttl)

-- Gives the job's slot to the next one, or takes the job out of the queue.
local function release_place()
  if stored[2] == '1' then
    redis.call('HDEL', job, 'slot')
    stored[2] = '0'
    release_slot(tenant_name, model)
    dispatch(4, wake_options)
  else
    dequeue_job(tenant_name, model, id)
  end
end

if waiting_before ~= waiting_for then
  if waiting_before ~= '' then stop_waiting_for(waiting_before, tenant_name, id, price) end
  if waiting_for ~= '' then start_waiting_for(waiting_for, tenant_name, id, price) end
end
if waiting_for ~= '' then
  release_place()
elseif waiting_before ~= '' and state == 'queued' then
  enqueue_jobs(tenant_name, { { id = id, model = model, priority = tonumber(priority) } })
  dispatch(2, wake_options)
elseif waiting_before ~= '' and is_final ~= '1' then
  -- RunComfy has it all the same: the answer to an earlier submit came late.
  redis.call('HSET', job, 'slot', 1)
  take_slots(tenant_name, model, 1)
end

-- RunComfy has finished: the next job need not wait until the outputs of this one are kept.
if state == 'archiving' and before ~= state then release_place() end

local amounts = { tonumber(stored[7] or 0), tonumber(stored[12] or 0), tonumber(stored[13] or 0) }
local settled_amounts = is_final == '1' and settle(job, amounts, settlement_status, cost) or amounts
if usage_before ~= usage_after or is_final == '1' then
  book_usage({
    usage = usage, key_usage = stored[11] or nil, day = usage_day, windows = split_words(windows),
    rows = split_lines(rows),
  }, subtract_numbers(usage_of_job(usage_after, settled_amounts), usage_of_job(usage_before, amounts)))
end
if charge ~= '' then record_charge(charge, tenant_name, settlement_status, settled_amounts[2]) end

if is_final == '1' then
  release_place()
  set_retention(job, timeline, job_deliveries, {
    tenant = tenant_name, ttl = ttl, now = now, min_ttl = min_ttl, kept_until = tonumber(kept_until),
    is_pending = due_at ~= '' or redis.call('ZSCORE', NAMES.archives, id),
    followed = dedup_key and has_followers(id),
    key = stored[5],
  })
end
return 'stored'
