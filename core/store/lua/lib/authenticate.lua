-- Returns the error of an API key ('unauthenticated' or 'not_permitted'; 'store_unknown' of an unknown key if the
-- store has no identity, or no tenants at all), or nil, its scopes and its own limits.
-- `disabled` is the tenant's field, `address` the caller's as bits. Records the key's last use, to the minute.

-- Whether the address is in one of the networks: a network is the beginning that its addresses share.
local function is_address_allowed(networks, address)
  for network in string.gmatch(networks, '%S+') do
    if string.sub(address, 1, #network) == network then return true end
  end
  return false
end

-- Whether the key may have been lost with everything else. A tenant that was deleted has left its record.
local function may_be_forgotten(disabled)
  if redis.call('HEXISTS', NAMES.store, 'id') == 0 then return true end
  return not disabled and redis.call('EXISTS', NAMES.tenants) == 0
end

local function authenticate(api_key, disabled, tenant_name, scope, now, address)
  local stored = redis.call('HMGET', api_key, 'tenant', 'expires', 'scopes', 'last_used_at', 'addresses', 'models',
    'usd_per_day', 'usd_per_month')
  if not stored[1] and may_be_forgotten(disabled) then return 'store_unknown' end
  if stored[1] ~= tenant_name then return 'unauthenticated' end
  if stored[2] ~= '' and tonumber(stored[2]) <= tonumber(now) then return 'unauthenticated' end
  if disabled ~= '0' then return 'unauthenticated' end
  if stored[5] and not is_address_allowed(stored[5], address) then return 'not_permitted' end
  if scope ~= '' and not string.find(stored[3], scope, 1, true) then return 'not_permitted' end
  if tonumber(now) - (tonumber(stored[4]) or 0) > 60000 then redis.call('HSET', api_key, 'last_used_at', now) end
  return nil, stored[3], {
    models = stored[6] or nil, usd_per_day = tonumber(stored[7] or ''), usd_per_month = tonumber(stored[8] or ''),
  }
end
