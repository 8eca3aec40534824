-- Stores the deliveries of a threshold of a budget. Returns 1, or 0 if it, or a higher one, was notified in its window.
-- Guarantees: a tenant gets one event for each threshold and window, however many workers compare.
-- Further KEYS and ARGV: new deliveries (lib/enqueue_delivery.lua).
-- USES: enqueue_delivery
-- FLAGS: allow-oom
-- KEYS: thresholds outbox ...
-- ARGV: kind window percent ...

local name, last = string.match(redis.call('HGET', thresholds, kind) or '', '^(%S+) (%d+)$')
if name == window and tonumber(last) >= tonumber(percent) then return 0 end
redis.call('HSET', thresholds, kind, window .. ' ' .. percent)
enqueue_deliveries(outbox, nil, FIXED_KEYS, FIXED_ARGUMENTS)
return 1
