-- Deduplication of identical requests: `dedup_key` is a hash for one fingerprint within one scope, with the leader
-- (`leader`, `leader_tenant`, `held_until`), whose work is paid for, and the last success (`output`, `cost`, `source`, `expires_at`).

local function dedup_key_of(policy, tenant_name, fingerprint)
  return NAMES.dedup .. (policy.cache_shared and '@shared' or tenant_name) .. ':' .. fingerprint
end

local function read_dedup_entry(dedup_key, now)
  local stored = redis.call('HMGET', dedup_key, 'leader', 'leader_tenant', 'expires_at', 'source', 'cost', 'output', 'held_until')
  return {
    leader = stored[1], leader_tenant = stored[2], held_until = stored[7], source = stored[4], cost = stored[5],
    output = stored[6] and tonumber(stored[3]) > now and stored[6], expires = stored[3],
  }
end

-- `expires`: whether the hash has an expiry from an earlier success, which must not end it under the leader.
local function set_leader(dedup_key, id, tenant_name, expires, held_until)
  redis.call('HSET', dedup_key, 'leader', id, 'leader_tenant', tenant_name, 'held_until', held_until or '')
  if expires then redis.call('PERSIST', dedup_key) end
end
