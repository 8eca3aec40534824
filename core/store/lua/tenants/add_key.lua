-- Gives a tenant one more key, unless it has `most` already; those that ran out make room. Returns 1,
-- 0, or -1 without the tenant (a deleted one's record is still there for its open jobs).
-- KEYS: tenants api_key tenant_keys
-- ARGV: name digest scopes expires key_doc most now api_key_prefix

local function forget_ended()
  for _, held in ipairs(redis.call('SMEMBERS', tenant_keys)) do
    local ends = tonumber(redis.call('HGET', api_key_prefix .. held, 'expires') or '')
    if ends and ends <= tonumber(now) then
      redis.call('DEL', api_key_prefix .. held)
      redis.call('SREM', tenant_keys, held)
    end
  end
end

if redis.call('SISMEMBER', tenants, name) == 0 then return -1 end
if redis.call('SCARD', tenant_keys) >= tonumber(most) then forget_ended() end
if redis.call('SCARD', tenant_keys) >= tonumber(most) then return 0 end
redis.call('HSET', api_key, 'tenant', name, 'expires', expires, 'scopes', scopes, 'doc', key_doc)
redis.call('SADD', tenant_keys, digest)
return 1
