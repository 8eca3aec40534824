-- A follower takes over running work whose own caller has gone: upstream id, slot, money and all.
local function inherit(once, leader, reserved, heir)
  local record = NAMES.job .. heir.id
  succeed(once, leader, heir.id, heir.tenant)
  redis.call('HSET', record, 'version', heir.version, 'doc', heir.doc, 'slot', 1)
  redis.call('HINCRBY', record, 'reserved', reserved)
  forget_input(heir.tenant, record, 'running')
  for _, window in ipairs(heir.windows) do
    redis.call('HINCRBY', window, 'reserved', reserved)
    redis.call('HINCRBY', window, 'reserved|' .. heir.model, reserved)
  end
  redis.call('RPUSH', record .. ':timeline', heir.entry)
  redis.call('HINCRBY', NAMES.states, 'following', -1)
  redis.call('HINCRBY', NAMES.states, 'running', 1)
  redis.call('ZADD', NAMES.due, heir.now, heir.id)
  relist(heir.tenant, heir.id, heir.place, heir.status_before, heir.status)
  tell(heir.id, heir.version, 'running')
  local held = redis.call('HMGET', record, 'batch', 'counted')
  note_status(record, held[1], held[2], heir.status, heir.now, heir.life)
end
