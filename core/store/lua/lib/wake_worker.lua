-- Leave arq a message in its own layout: the bytes at its key, its name in the queue by time.
local function ring(message, bell, message_name, message_body, message_ttl, now)
  redis.call('SET', message, message_body, 'PX', message_ttl)
  redis.call('ZADD', bell, now, message_name)
end
