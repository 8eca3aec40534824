-- Stores the deliveries of a finished batch's completion event. Returns 1, or 0 if they were stored before.
-- Guarantees: a batch sends its completion event once, even if a worker dies while storing it.
-- Further KEYS and ARGV: new deliveries (lib/enqueue_delivery.lua).
-- USES: enqueue_delivery
-- FLAGS: allow-oom
-- KEYS: batches outbox ...
-- ARGV: batch ...

if redis.call('ZREM', batches, batch) == 0 then return 0 end
enqueue_deliveries(outbox, nil, FIXED_KEYS, FIXED_ARGUMENTS)
return 1
