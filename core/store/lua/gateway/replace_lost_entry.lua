-- Notes an entry that the journal lacks, if what was read is still so: the one that is noted ('' for none), the journal,
-- and since when that has every claim. An operator may have accepted meanwhile that it lacks it. Returns 1, or 0.
-- FLAGS: allow-oom
-- KEYS: store
-- ARGV: held journal_id journal_since lost

local stored = redis.call('HMGET', store, 'lost_entry', 'journal_id', 'journal_since')
if (stored[1] or '') ~= held or (stored[2] or '') ~= journal_id or (stored[3] or '') ~= journal_since then return 0 end
redis.call('HSET', store, 'lost_entry', lost)
return 1
