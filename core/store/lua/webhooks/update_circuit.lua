-- Stores an endpoint's circuit breaker over the version that was read, and schedules its queue's next check.
-- Returns 1, or 0 if the circuit has changed since.
-- USES: delivery_queue
-- FLAGS: allow-oom
-- KEYS: outbox delivery_queue in_flight circuit
-- ARGV: queue_name now max_concurrency ttl_seconds circuit_expected circuit_version circuit_doc circuit_until?
-- ARGV: circuit_max_concurrency?

if not store_circuit(
  circuit, circuit_expected, circuit_version, circuit_doc, circuit_until, circuit_max_concurrency, ttl_seconds
) then return 0 end
reschedule_queue(outbox, queue_name, delivery_queue, in_flight, circuit, now, max_concurrency)
return 1
