-- Stores a replay's progress over the version that was read. `due` is '' at its end. Returns 1, or 0 if it has
-- changed since.
-- FLAGS: allow-oom
-- KEYS: replay replays
-- ARGV: expected version doc tenant_name due ttl_seconds

if (redis.call('HGET', replay, 'version') or '0') ~= expected then return 0 end
redis.call('HSET', replay, 'version', version, 'doc', doc)
redis.call('EXPIRE', replay, ttl_seconds)
if due == '' then
  redis.call('ZREM', replays, tenant_name)
else
  redis.call('ZADD', replays, due, tenant_name)
end
return 1
