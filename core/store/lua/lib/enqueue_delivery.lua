-- Stores a delivery, adds it to its tenant's index, and queues it if it is due at all. Whether an attempt may
-- start is decided when it is claimed.
local function enqueue_delivery(outbox, record, delivery_queue, delivery_index, new_delivery)
  redis.call('HSET', record, 'version', new_delivery.version, 'doc', new_delivery.doc)
  redis.call('EXPIRE', record, new_delivery.ttl_seconds)
  redis.call('ZADD', delivery_index, new_delivery.created, new_delivery.id)
  redis.call('ZREMRANGEBYSCORE', delivery_index, '-inf', new_delivery.prune_before)
  redis.call('EXPIRE', delivery_index, new_delivery.ttl_seconds)
  if new_delivery.due ~= '' then
    redis.call('ZADD', delivery_queue, new_delivery.due, new_delivery.id)
    local tenant_name = string.match(new_delivery.queue_name, '^[^/]*')
    redis.call('ZADD', NAMES.tenant_queues .. tenant_name, 'LT', new_delivery.due, new_delivery.queue_name)
    redis.call('ZADD', outbox, 'LT', new_delivery.due, tenant_name)
  end
end

-- New deliveries: of each, three KEYS (record, queue, tenant's index) after `key_position` and seven ARGV (id, doc,
-- due, created, queue name, TTL in seconds, prune others before) after `position`. `job_deliveries`: the list of the
-- job that they are about, or nil.
local function enqueue_deliveries(outbox, job_deliveries, key_position, position)
  for index = key_position + 1, #KEYS, 3 do
    enqueue_delivery(outbox, KEYS[index], KEYS[index + 1], KEYS[index + 2], {
      id = ARGV[position + 1], version = 1, doc = ARGV[position + 2], due = ARGV[position + 3],
      created = ARGV[position + 4], queue_name = ARGV[position + 5], ttl_seconds = ARGV[position + 6],
      prune_before = ARGV[position + 7],
    })
    if job_deliveries then redis.call('RPUSH', job_deliveries, ARGV[position + 1]) end
    position = position + 7
  end
end
