-- Returns an operator's record if the operator's token has this digest, else nil. Records the token's last use,
-- to the minute.
-- KEYS: operator
-- ARGV: digest now

local stored = redis.call('HMGET', operator, 'digest', 'doc', 'last_used_at')
if stored[1] ~= digest then return false end
if tonumber(now) - (tonumber(stored[3]) or 0) > 60000 then redis.call('HSET', operator, 'last_used_at', now) end
return stored[2]
