-- Writes the closing event's callbacks of a batch that has ended, unless somebody has done so.
-- Extra KEYS are record, channel and list of each delivery; extra ARGV are id, doc, due and created
-- instant, channel, life and oldest instant of each. Returns 1, or 0 when somebody was first.
-- Protects: a batch is told of once, whoever dies on the way.
-- USES: enqueue_delivery
-- KEYS: batches outbox ...
-- ARGV: batch ...

if redis.call('ZREM', batches, batch) == 0 then return 0 end
enqueue_deliveries(outbox, nil, FIXED_KEYS, FIXED_ARGUMENTS)
return 1
