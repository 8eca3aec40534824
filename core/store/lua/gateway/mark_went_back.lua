-- Marks the store as gone back: it must be compared with the journal since `compare_since` (ms). If it went back to
-- before the journal had every claim, jobs that were admitted until `doubt_until` (ms, or '') may have no entry there.
-- FLAGS: allow-oom
-- KEYS: store
-- ARGV: compare_since doubt_until

local held = redis.call('HMGET', store, 'compare_since', 'doubt_until', 'journal_since')
if not held[1] or tonumber(held[1]) > tonumber(compare_since) then
  redis.call('HSET', store, 'compare_since', compare_since)
end
if doubt_until == '' then return 1 end
for number, name in ipairs({ 'doubt_until', 'journal_since' }) do
  if (tonumber(held[number + 1] or '') or 0) < tonumber(doubt_until) then redis.call('HSET', store, name, doubt_until) end
end
return 1
