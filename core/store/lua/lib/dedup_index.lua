-- One paid job for identical requests: who leads (its work is paid for), who follows, what is kept.
-- `once` is the hash of one canonical input within one scope: `leader`, `of` (its tenant), and of the
-- last success `output`, `cost`, `source`, `until`.

local function once_key(policy, tenant_name, fingerprint)
  return NAMES.once .. (policy.cache_shared and '@shared' or tenant_name) .. ':' .. fingerprint
end

local function look_up(once, now)
  local held = redis.call('HMGET', once, 'leader', 'of', 'until', 'source', 'cost', 'output')
  return {
    leader = held[1], of = held[2], source = held[4], cost = held[5],
    output = held[6] and tonumber(held[3]) > now and held[6], ends = held[3],
  }
end

-- `ends` false: nothing is kept there that would be forgotten by and by.
local function lead(once, id, tenant_name, ends)
  redis.call('HSET', once, 'leader', id, 'of', tenant_name)
  if ends then redis.call('PERSIST', once) end
end
