-- Appends to an audit log, if `previous` is the digest of its last entry, and removes entries whose time is over.
-- Returns nil, or the digest of the last entry ('' if there is none) if that is another one.
-- `trim` and `threshold`: MINID and the oldest instant to keep (ms), or MAXLEN and a number of entries.
-- KEYS: log
-- ARGV: now entry previous digest trim threshold ttl_seconds

local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local stored = last and last[2][6] or ''
if stored ~= previous then return stored end
-- Ids never go back: after a clock that was ahead, entries share the instant of its last one.
local at = math.max(tonumber(now), last and tonumber(string.match(last[1], '^%d+')) or 0)
redis.call('XADD', log, trim, threshold, string.format('%.0f-*', at),
  'entry', entry, 'previous', previous, 'digest', digest)
redis.call('EXPIRE', log, ttl_seconds)
return false
