-- Ends the pause of a deleted tenant once none of its jobs waits: before, the pause keeps them from being submitted.
local function forget_pause(tenant_name)
  if redis.call('SISMEMBER', NAMES.tenants, tenant_name) == 1 then return end
  if redis.call('HEXISTS', NAMES.waiting, tenant_name) == 1 then return end
  redis.call('HDEL', NAMES.pauses, 'tenant:' .. tenant_name)
end
