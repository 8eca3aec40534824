-- Whether a tenant's endpoints are others than callbacks were made for. They are known by the digest of
-- the two records that say where events go: versions would repeat where a replica takes over that had
-- not yet heard of the last one. `mark` '' : no endpoint is concerned.
local function setup_changed(tenant, webhooks, mark)
  if mark == '' then return false end
  local doc, own = redis.call('HGET', tenant, 'doc'), redis.call('HGET', webhooks, 'doc')
  return redis.sha1hex((doc or '') .. '\n' .. (own or '')) ~= mark
end
