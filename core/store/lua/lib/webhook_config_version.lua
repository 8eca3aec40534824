-- Whether a tenant's endpoints are others than callbacks were made for. They are known by the digest of
-- the two records that say where events go: versions would repeat where a replica takes over that had
-- not yet heard of the last one. `config_digest` '' : no endpoint is concerned.
local function webhook_config_changed(tenant, webhooks, config_digest)
  if config_digest == '' then return false end
  local doc, config_doc = redis.call('HGET', tenant, 'doc'), redis.call('HGET', webhooks, 'doc')
  return redis.sha1hex((doc or '') .. '\n' .. (config_doc or '')) ~= config_digest
end
