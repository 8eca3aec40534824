-- Ends the mark of a store that went back, in a new epoch. Returns 1; or 0, without writing anything, if the
-- position has changed since it was read: then something may have been forgotten again. What is older than
-- `complete_since` (ms) may lack its record from now on.
-- FLAGS: allow-oom
-- KEYS: store log
-- ARGV: epoch claims last_claim compare_since doubt_until new_epoch new_claims complete_since

local held = redis.call('HMGET', store, 'epoch', 'claims', 'compare_since', 'doubt_until')
local last = redis.call('LINDEX', log, -1) or ''
if held[1] ~= epoch or (held[2] or '0') ~= claims or last ~= last_claim then return 0 end
if (held[3] or '') ~= compare_since or (held[4] or '') ~= doubt_until then return 0 end
redis.call('HSET', store, 'epoch', new_epoch, 'claims', new_claims, 'complete_since', complete_since)
redis.call('HDEL', store, 'compare_since', 'doubt_until')
return 1
