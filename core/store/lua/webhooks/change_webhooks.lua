-- Stores a tenant's webhook config over the version that was read (an absent one has version 0), with the
-- deliveries that report the change, and a replay of what an endpoint missed while it was disabled.
-- Returns 1, or 0 if the config or the replay has changed since.
-- Further KEYS and ARGV: new deliveries (lib/enqueue_delivery.lua).
-- USES: enqueue_delivery
-- FLAGS: allow-oom
-- KEYS: webhooks outbox replays replay ...
-- ARGV: expected version doc replay_expected replay_version replay_doc tenant_name now ttl_seconds ...

if (redis.call('HGET', webhooks, 'version') or '0') ~= expected then return 0 end
if replay_doc ~= '' then
  if (redis.call('HGET', replay, 'version') or '0') ~= replay_expected then return 0 end
  redis.call('HSET', replay, 'version', replay_version, 'doc', replay_doc)
  redis.call('EXPIRE', replay, ttl_seconds)
  redis.call('ZADD', replays, now, tenant_name)
end
redis.call('HSET', webhooks, 'version', version, 'doc', doc)

enqueue_deliveries(outbox, nil, FIXED_KEYS, FIXED_ARGUMENTS)
return 1
