-- Stores a job again that Redis has forgotten, from the journal of paid submits. It takes the slot that it had
-- when it was claimed, whatever the limits are now, and reserves again what it had reserved.
-- `follower_version` and `follower_stamp`: Redis has it still as a follower, and has forgotten that it was promoted; it
-- leaves its leader. '' if it is gone.
-- Returns { 'stored' }; or without writing anything { 'conflict' } if the job is there, or has changed, or
-- { 'repeated', id } if the request was admitted again since, by its idempotency key: `id` is the new job or batch.
-- Or { 'unmarked' }: the store is not marked as gone back. Then it is not certain since when it is compared, which the
-- claim of a restored job would hide: it counts as one that the store has not forgotten.
-- `idempotency_fingerprint` is '' for a job without an idempotency key. The key leads to `admitted_as`, the job or its
-- batch, unless it was used for another request since.
-- USES: zadd_batch usage concurrency publish_change unsubmitted_index job_indexes count_claim upstream_ids
-- USES: dedup_index followers batch rewritten
-- FLAGS: allow-oom
-- KEYS: job timeline due states in_doubt usage usage_day idempotency
-- ARGV: id version stamp doc entry state now due_at input reserved tenant_name model index_score reference status
-- ARGV: windows rows facts history_ttl history_day oldest_history_day idempotency_fingerprint admitted_as
-- ARGV: settled_repetition settled_jobs claimed_stamp upstream_id upstream_id_ttl
-- ARGV: follower_version? follower_stamp? follower_status? follower_facts?

-- Whether a job that was ended may be submitted all the same: the store went back again since.
local function may_be_submitted(other)
  if redis.call('ZSCORE', NAMES.unsubmitted, other) then return true end
  local leader = redis.call('HGET', NAMES.job .. other, 'leader')
  return leader and redis.call('ZSCORE', NAMES.followers .. leader, other)
end

local held_job = redis.call('HMGET', job, 'version', 'stamp', 'leader', 'key_usage', 'batch', 'batch_status')
local follows = follower_version ~= ''
if follows then
  if held_job[1] ~= follower_version or is_rewritten(held_job[2], follower_stamp) then return { 'conflict' } end
elseif redis.call('EXISTS', job) == 1 then
  return { 'conflict' }
end
if redis.call('HEXISTS', NAMES.store, 'compare_since') == 0 then return { 'unmarked' } end
local takes_key = idempotency_fingerprint ~= ''
local held = takes_key and redis.call('GET', idempotency)
if held then
  local used_for, admitted = string.match(held, '^(%S+) (%S+)$')
  local is_same_request = used_for == idempotency_fingerprint
  local is_settled = admitted == settled_repetition
  for _, other in ipairs(split_words(settled_jobs)) do
    if may_be_submitted(other) then is_settled = false end
  end
  if is_same_request and admitted ~= admitted_as and not is_settled then return { 'repeated', admitted } end
  -- A batch that was admitted again keeps it: it is there, and its other jobs may be repetitions too.
  takes_key = is_same_request and is_settled and admitted_as == id
end
redis.call('HSET', job, 'version', version, 'stamp', stamp, 'doc', doc, 'input', input, 'reserved', reserved, 'slot', '1')
if follows then
  unfollow(held_job[3], id)
  redis.call('HDEL', job, 'leader', 'dedup_key')
  redis.call('HINCRBY', states, 'following', -1)
  update_batch_counts(job, held_job[5], held_job[6], status, now)
end
redis.call('RPUSH', timeline, entry)
redis.call('HINCRBY', states, state, 1)
redis.call('ZADD', due, due_at, id)
update_unsubmitted(id, '', state, now)
if state == 'in_doubt' then redis.call('ZADD', in_doubt, now, id) end
take_slots(tenant_name, model, 1)
if upstream_id ~= '' then remember_upstream_id(upstream_id, id, upstream_id_ttl) end

redis.call('ZADD', job_index_of(tenant_name), index_score, id)
if reference ~= '' then redis.call('ZADD', reference_index_of(tenant_name), reference, id) end
update_status_index(tenant_name, id, index_score, follower_status, status)

local counted, names = usage_of_job(facts, { tonumber(reserved), 0, 0 }), split_lines(rows)
if follows then
  book_usage({ usage = usage, key_usage = held_job[4] or nil, day = usage_day, windows = split_words(windows), rows = names },
    subtract_numbers(counted, usage_of_job(follower_facts, { 0, 0, 0 })))
else
  local changes = {}
  for _, row in ipairs(names) do changes[row] = counted end
  add_to_windows(usage, split_words(windows), counted)
  add_to_history(usage_day, names, changes,
    { ttl = history_ttl, number = history_day, oldest = oldest_history_day, tenant = tenant_name })
end
if takes_key then
  redis.call('SET', idempotency, idempotency_fingerprint .. ' ' .. admitted_as)
  redis.call('HSET', job, 'idempotency', idempotency)
end
-- Its first claim is long past: the time of the last one bounds what is compared.
count_claim(id .. ' ' .. claimed_stamp .. ' restored')
publish_change(id, version, state)
return { 'stored' }
