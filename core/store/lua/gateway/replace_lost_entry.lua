-- Notes an entry that the journal lacks, if the one that is noted is still `held` ('' for none). Returns 1, or 0.
-- FLAGS: allow-oom
-- KEYS: store
-- ARGV: held lost

if (redis.call('HGET', store, 'lost_entry') or '') ~= held then return 0 end
redis.call('HSET', store, 'lost_entry', lost)
return 1
