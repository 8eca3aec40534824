-- Adds an API key. Further ARGV: fields and values of its own limits. Returns 1, 0 if the tenant has `max_keys` unexpired keys, or -1 without the tenant. (The record of
-- a deleted tenant still exists, so the set of tenants decides.)
-- KEYS: tenants api_key tenant_keys
-- ARGV: name digest scopes expires key_doc max_keys now api_key_prefix ...

local function delete_expired_keys()
  for _, stored in ipairs(redis.call('SMEMBERS', tenant_keys)) do
    local expires_at = tonumber(redis.call('HGET', api_key_prefix .. stored, 'expires') or '')
    if expires_at and expires_at <= tonumber(now) then
      redis.call('DEL', api_key_prefix .. stored)
      redis.call('SREM', tenant_keys, stored)
    end
  end
end

if redis.call('SISMEMBER', tenants, name) == 0 then return -1 end
if redis.call('SCARD', tenant_keys) >= tonumber(max_keys) then delete_expired_keys() end
if redis.call('SCARD', tenant_keys) >= tonumber(max_keys) then return 0 end
redis.call('HSET', api_key, 'tenant', name, 'expires', expires, 'scopes', scopes, 'doc', key_doc)
if #ARGV > FIXED_ARGUMENTS then redis.call('HSET', api_key, unpack(ARGV, FIXED_ARGUMENTS + 1)) end
redis.call('SADD', tenant_keys, digest)
return 1
