-- Stores a shared record over the version that was read; an absent record has version 0. Returns 1 or 0.
-- KEYS: record
-- ARGV: expected version doc

if (redis.call('HGET', record, 'version') or '0') ~= expected then return 0 end
redis.call('HSET', record, 'version', version, 'doc', doc)
return 1
