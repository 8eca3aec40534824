-- Takes a token of the global submit rate. Returns 0, or when the next one is available (ms).
-- USES: gcra
-- FLAGS: allow-oom
-- KEYS: limits rate
-- ARGV: now

local per_second = tonumber(redis.call('HGET', limits, 'submits_per_second') or '')
if not per_second then return '0' end
local granted, retry_at = take_tokens(rate, per_second, 1, tonumber(now))
if granted == 1 then return '0' end
return string.format('%.0f', math.ceil(retry_at))
