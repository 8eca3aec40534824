-- Pauses or resumes everything, one tenant or one model ('all', 'tenant:x', 'model:y'). Resuming
-- puts whoever waited for it back into the turns. Returns 1.
-- USES: names dispatch
-- KEYS: pauses
-- ARGV: what paused_now now message_template message_ttl ring_due_at

local kind, name = string.match(what, '^(%a+):?(.*)$')
if paused_now == '1' then
  redis.call('SADD', pauses, what)
  return 1
end
redis.call('SREM', pauses, what)
if kind == 'tenant' then stand_in_turns(name) end
if kind == 'model' then unpark(name, 1000) end
dispatch(100, { now = now, due_at = ring_due_at, template = message_template, ttl = message_ttl })
return 1
