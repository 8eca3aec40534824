-- Returns the error of an API key ('unauthenticated' or 'not_permitted'; 'store_unknown' if the store has neither
-- tenants nor an identity), or nil and its scopes. `disabled` is the tenant's field. Records the key's last use, to
-- the minute.
local function authenticate(api_key, disabled, tenant_name, scope, now)
  local stored = redis.call('HMGET', api_key, 'tenant', 'expires', 'scopes', 'last_used_at')
  if not stored[1] and redis.call('EXISTS', NAMES.tenants, NAMES.store) == 0 then return 'store_unknown' end
  if stored[1] ~= tenant_name then return 'unauthenticated' end
  if stored[2] ~= '' and tonumber(stored[2]) <= tonumber(now) then return 'unauthenticated' end
  if disabled ~= '0' then return 'unauthenticated' end
  if scope ~= '' and not string.find(stored[3], scope, 1, true) then return 'not_permitted' end
  if tonumber(now) - (tonumber(stored[4]) or 0) > 60000 then redis.call('HSET', api_key, 'last_used_at', now) end
  return nil, stored[3]
end
