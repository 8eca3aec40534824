-- Notes which journal the store's submits are written to, and since when that has every claim (ms, or '': always).
-- What the former one had is not missed in it. Returns 1; or 0, without writing anything, if the journal is not `held`.
-- FLAGS: allow-oom
-- KEYS: store
-- ARGV: held journal_id journal_since

if (redis.call('HGET', store, 'journal_id') or '') ~= held then return 0 end
redis.call('HSET', store, 'journal_id', journal_id, 'journal_since', journal_since)
redis.call('HDEL', store, 'newest_entry', 'lost_entry')
return 1
