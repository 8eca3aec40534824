-- Transfers running work to a follower, because the leader's caller cancelled or its deadline passed: upstream id,
-- slot and reservation.
local function transfer_work(dedup_key, leader, reserved, successor)
  local record = NAMES.job .. successor.id
  replace_leader(dedup_key, leader, successor.id, successor.tenant)
  redis.call('HSET', record, 'version', successor.version, 'stamp', successor.stamp,
    'doc', successor.doc, 'slot', 1)
  redis.call('HINCRBY', record, 'reserved', reserved)
  delete_input(successor.tenant, record, 'running')
  count_stored_bytes(successor.tenant, successor.id, record)
  local windows = append_key_windows(successor.windows, redis.call('HGET', record, 'key_windows') or nil)
  for _, window in ipairs(windows) do
    redis.call('HINCRBY', window, 'reserved', reserved)
    redis.call('HINCRBY', window, 'reserved|' .. successor.model, reserved)
  end
  redis.call('RPUSH', record .. ':timeline', successor.entry)
  redis.call('HINCRBY', NAMES.states, 'following', -1)
  redis.call('HINCRBY', NAMES.states, 'running', 1)
  redis.call('ZADD', NAMES.due, successor.now, successor.id)
  update_status_index(successor.tenant, successor.id, successor.index_score,
    successor.status_before, successor.status)
  publish_change(successor.id, successor.version, 'running')
  local stored = redis.call('HMGET', record, 'batch', 'batch_status')
  update_batch_counts(record, stored[1], stored[2], successor.status, successor.now, successor.ttl_seconds)
end
