-- Puts a delivery that was set aside back into its queue, due now.
-- Returns 1, or 0 if it is not set aside.
-- `member`: the delivery's id and its queue's name.
-- USES: delivery_queue
-- FLAGS: allow-oom
-- KEYS: unreadable_deliveries outbox delivery_queue in_flight circuit
-- ARGV: id member queue_name now max_concurrency

if redis.call('ZREM', unreadable_deliveries, member) == 0 then return 0 end
redis.call('ZADD', delivery_queue, now, id)
reschedule_queue(outbox, queue_name, delivery_queue, in_flight, circuit, now, max_concurrency)
return 1
