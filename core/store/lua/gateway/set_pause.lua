-- Pauses or resumes a target ('all', 'tenant:x' or 'model:y'), and dispatches jobs that this allows to run. A pause
-- that is set again keeps the instant of the first time. Returns 1, or 0 if it was so already.
-- USES: zadd_batch concurrency fair_queue
-- FLAGS: allow-oom
-- KEYS: pauses
-- ARGV: target paused_now now message_template message_ttl wake_due_at

local changed = paused_now == '1' and redis.call('HSETNX', pauses, target, now) or redis.call('HDEL', pauses, target)
local kind, name = string.match(target, '^(%a+):?(.*)$')
if kind == 'tenant' then refresh_tenant(name) end
if kind == 'model' then refresh_model(name) end
dispatch(100, { now = now, due_at = wake_due_at, template = message_template, ttl = message_ttl })
return changed
