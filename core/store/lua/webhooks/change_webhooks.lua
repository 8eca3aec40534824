-- Stores a tenant's endpoints over the version that was read (absent counts as 0), with what goes with
-- it: callbacks that tell of the change, and a replay of what an endpoint missed while it was disabled.
-- Returns 1, or 0 when somebody was first (to the endpoints, or to the replay).
-- Extra KEYS are record, channel and list of each callback; extra ARGV its id, doc, due, created,
-- channel, life and oldest instant.
-- USES: enqueue_delivery
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
