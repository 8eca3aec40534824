-- Takes a delivery that cannot be read out of its queue, and forgets those that have expired.
-- `member`: the delivery's id and its queue's name.
-- USES: delivery_queue
-- FLAGS: allow-oom
-- KEYS: unreadable_deliveries outbox delivery_queue in_flight circuit
-- ARGV: id member queue_name now expired_at max_concurrency

redis.call('ZREM', in_flight, id)
redis.call('ZREM', delivery_queue, id)
redis.call('ZREMRANGEBYSCORE', unreadable_deliveries, '-inf', expired_at)
redis.call('ZADD', unreadable_deliveries, 'NX', now, member)
reschedule_queue(outbox, queue_name, delivery_queue, in_flight, circuit, now, max_concurrency)
