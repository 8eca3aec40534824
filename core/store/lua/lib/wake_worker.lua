-- Writes a message to arq's queue in arq's format: the bytes at a key, the name in the queue by time.
local function wake_worker(message, wake_queue, message_name, message_body, message_ttl, now)
  redis.call('SET', message, message_body, 'PX', message_ttl)
  redis.call('ZADD', wake_queue, now, message_name)
end
