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
  local booking = successor.booking
  booking.key_usage = redis.call('HGET', record, 'key_usage') or nil
  book_usage(booking, usage_of_reservation(tonumber(reserved)))
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
