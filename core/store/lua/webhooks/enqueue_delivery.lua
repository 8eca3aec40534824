-- Stores a callback's record over the version that was read (absent counts as 0), to be sent when due.
-- Returns 1, or 0 when somebody was first.
-- USES: enqueue_delivery
-- KEYS: delivery outbox delivery_queue delivery_index
-- ARGV: expected version id doc due created queue_name ttl_seconds prune_before

if (redis.call('HGET', delivery, 'version') or '0') ~= expected then return 0 end
enqueue_delivery(outbox, delivery, delivery_queue, delivery_index, {
  id = id, version = version, doc = doc, due = due, created = created,
  queue_name = queue_name, ttl_seconds = ttl_seconds, prune_before = prune_before,
})
return 1
