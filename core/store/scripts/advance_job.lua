-- Stores a job's next record over the version that was read, and everything that goes with it.
-- Returns 'stored', 'stale' (somebody was first), 'no_slot' (it may not be submitted yet) or 'unknown'.
-- Protects: no reader sees half of a change; no final state without its callbacks; no slot and no
-- money is left behind by an end.
-- `due_at` 'keep' leaves the job's place in the index as it is: a lease that somebody holds stays.
-- Extra KEYS are record, channel and list of each new delivery; extra ARGV are `entry_count` timeline
-- entries and then id, doc, due and created instant, channel, life and oldest instant of each delivery.
-- USES: names ring post ledger dispatch tell remember_run unsent index kept
-- KEYS: job timeline due states doubts outbox job_deliveries message bell day month ...
-- ARGV: expected id version doc before state due_at output ttl now
-- ARGV: message_name message_body message_ttl tenant_name model ended verdict cost
-- ARGV: message_template ring_due_at took kept status_before status listed_at least entry_count ...

local FIXED_KEYS, FIXED_ARGUMENTS = 11, 27

local held = redis.call('HMGET', job, 'version', 'slot')
if not held[1] then return 'unknown' end
if held[1] ~= expected then return 'stale' end
if before == 'queued' and state == 'submitting' and held[2] ~= '1' then return 'no_slot' end

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
for index = FIXED_KEYS + 1, #KEYS, 3 do
  post(outbox, KEYS[index], KEYS[index + 1], KEYS[index + 2], {
    id = ARGV[position + 1], version = 1, doc = ARGV[position + 2], due = ARGV[position + 3],
    created = ARGV[position + 4], channel = ARGV[position + 5], life = ARGV[position + 6],
    forget = ARGV[position + 7],
  })
  redis.call('RPUSH', job_deliveries, ARGV[position + 1])
  position = position + 7
end
if message_name ~= '' then
  ring(message, bell, message_name, message_body, message_ttl, now)
end

if ended == '1' then
  book(job, { day, month }, model, verdict, cost)
  if held[2] == '1' then
    redis.call('HDEL', job, 'slot')
    give_back(tenant_name, model)
    dispatch(4, { now = now, due_at = ring_due_at, template = message_template, ttl = message_ttl })
  else
    leave_lane(tenant_name, model, id)
  end
  keep(job, timeline, job_deliveries, { tenant = tenant_name, ttl = ttl, now = now, due_at = due_at, least = least })
end
return 'stored'
