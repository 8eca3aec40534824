-- Notes the entry of a claim in the journal, which must be there from now on: `name`, the job's submit `number`.
-- Returns 1; or 0, without writing anything, if the job is gone or the store's journal is another one.
-- FLAGS: allow-oom
-- KEYS: store job
-- ARGV: journal_id name number

if (redis.call('HGET', store, 'journal_id') or '') ~= journal_id then return 0 end
if redis.call('HEXISTS', job, 'doc') == 0 then return 0 end
redis.call('HSET', job, 'journal_entry', number)
redis.call('HSET', store, 'newest_entry', name)
return 1
