-- Whether a tenant's webhook config is another than the one deliveries were made for. It is identified by a digest, not
-- by a version: a replica that takes over without the last change would assign the same version again.
-- `config_digest` is '' if no endpoint is concerned.
local function webhook_config_changed(webhooks, config_digest)
  if config_digest == '' then return false end
  return redis.sha1hex(redis.call('HGET', webhooks, 'doc') or '') ~= config_digest
end
