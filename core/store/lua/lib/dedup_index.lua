-- One paid job for identical requests: who leads (its work is paid for), who follows, what is kept.
-- `dedup_key` is the hash of one canonical input within one scope: `leader`, `leader_tenant` (its tenant), and of the
-- last success `output`, `cost`, `source`, `until`.

local function dedup_key_of(policy, tenant_name, fingerprint)
  return NAMES.dedup .. (policy.cache_shared and '@shared' or tenant_name) .. ':' .. fingerprint
end

local function read_dedup_entry(dedup_key, now)
  local stored = redis.call('HMGET', dedup_key, 'leader', 'leader_tenant', 'expires_at', 'source', 'cost', 'output')
  return {
    leader = stored[1], leader_tenant = stored[2], source = stored[4], cost = stored[5],
    output = stored[6] and tonumber(stored[3]) > now and stored[6], expires = stored[3],
  }
end

-- `expires` false: nothing is kept there that would be forgotten by and by.
local function set_leader(dedup_key, id, tenant_name, expires)
  redis.call('HSET', dedup_key, 'leader', id, 'leader_tenant', tenant_name)
  if expires then redis.call('PERSIST', dedup_key) end
end
