-- Stores the result of a delivery attempt over the version that was read, ends its lease, and stores the
-- endpoint's circuit breaker if that has not changed since.
-- Returns { 'stored', 'conflict' or 'not_found', 1 if the circuit was stored, else 0 }.
-- `job_id`: '' for a delivery that is not about a job.
-- Guarantees: a job with its result is kept for `min_ttl` ms after its last attempt.
-- USES: delivery_queue retention
-- FLAGS: allow-oom
-- KEYS: delivery attempts outbox delivery_queue in_flight circuit job timeline job_deliveries
-- ARGV: expected id version doc due_at? attempt? entry? ttl_seconds now min_ttl job_id?
-- ARGV: queue_name max_concurrency circuit_expected circuit_version circuit_doc circuit_until?
-- ARGV: circuit_max_concurrency?

local result = 'stored'
local stored = redis.call('HGET', delivery, 'version')
if not stored then result = 'not_found' elseif stored ~= expected then result = 'conflict' end
-- After a conflict without a place in the queue, Redis went back to an earlier claim of this delivery: only the end
-- of that lease brings it back.
if result ~= 'conflict' or redis.call('ZSCORE', delivery_queue, id) then redis.call('ZREM', in_flight, id) end

if result == 'stored' then
  redis.call('HSET', delivery, 'version', version, 'doc', doc)
  if due_at ~= '' then redis.call('ZADD', delivery_queue, due_at, id) else redis.call('ZREM', delivery_queue, id) end
end
if result ~= 'not_found' and attempt ~= '' then
  redis.call('RPUSH', attempts, attempt)
  redis.call('RPUSHX', timeline, entry)
  redis.call('EXPIRE', delivery, ttl_seconds)
  redis.call('EXPIRE', attempts, ttl_seconds)
end
if job_id ~= '' then
  extend_ttl(job, timeline, job_deliveries, tonumber(min_ttl))
  if result == 'stored' and due_at == '' then
    apply_tenant_ttl(job, timeline, job_deliveries, job_id, now, tonumber(min_ttl))
  end
end

local circuit_stored = store_circuit(
  circuit, circuit_expected, circuit_version, circuit_doc, circuit_until, circuit_max_concurrency, ttl_seconds)
reschedule_queue(outbox, queue_name, delivery_queue, in_flight, circuit, now, max_concurrency)
return { result, circuit_stored and 1 or 0 }
