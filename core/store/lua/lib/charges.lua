-- What each request of RunComfy cost, by the day on which its job was admitted (core.billing.charges).

-- `charge`: lines of the day, how long it is kept (s), the name, and the name that it replaces if
-- that is there (it may be the same).
local function record_charge(charge, tenant, status, amount)
  local day, ttl, name, replaced = string.match(charge, '^(%d+)\n(%d+)\n([^\n]+)\n(.+)$')
  local key = NAMES.charges .. day
  redis.call('HDEL', key, replaced)
  redis.call('HSET', key, name, string.format('%s %s %.0f', tenant, status, amount))
  redis.call('EXPIRE', key, ttl)
end
