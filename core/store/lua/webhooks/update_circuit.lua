-- Stores the breaker over a channel over the version that was read. Returns 1 or 0.
-- USES: delivery_queue
-- KEYS: outbox delivery_queue in_flight circuit
-- ARGV: expected version doc until_at max_concurrency ttl_seconds queue_name now circuit_max_concurrency

if not store_circuit(circuit, expected, version, doc, until_at, max_concurrency, ttl_seconds) then return 0 end
reschedule_queue(outbox, queue_name, delivery_queue, in_flight, circuit, now, circuit_max_concurrency)
return 1
