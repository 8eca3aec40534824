-- Stores a delivery over the version that was read (an absent one has version 0) and queues it if it is due.
-- Returns 1, or 0 if it has changed since.
-- USES: enqueue_delivery
-- FLAGS: allow-oom
-- KEYS: delivery outbox delivery_queue delivery_index
-- ARGV: expected version id doc due created queue_name ttl_seconds prune_before

if (redis.call('HGET', delivery, 'version') or '0') ~= expected then return 0 end
enqueue_delivery(outbox, delivery, delivery_queue, delivery_index, {
  id = id, version = version, doc = doc, due = due, created = created,
  queue_name = queue_name, ttl_seconds = ttl_seconds, prune_before = prune_before,
})
return 1
