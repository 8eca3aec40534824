-- Marks the store as gone back: it must be compared with the journal since `compare_since` (ms).
-- FLAGS: allow-oom
-- KEYS: store
-- ARGV: compare_since

local held = tonumber(redis.call('HGET', store, 'compare_since') or '')
if not held or held > tonumber(compare_since) then redis.call('HSET', store, 'compare_since', compare_since) end
return 1
