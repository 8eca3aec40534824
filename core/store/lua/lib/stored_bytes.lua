-- How many bytes of inputs and outputs are stored for a tenant: a hash of each job's, and their sum (`@total`). A job
-- that Redis has expired counts until `prune_indexes` finds it, a minute later at most.

local function set_stored_bytes(tenant, id, bytes)
  local key = NAMES.stored_bytes .. tenant
  local difference = bytes - tonumber(redis.call('HGET', key, id) or 0)
  if difference == 0 then return end
  if bytes == 0 then redis.call('HDEL', key, id) else redis.call('HSET', key, id, bytes) end
  redis.call('HINCRBY', key, '@total', difference)
end

-- As `set_stored_bytes` for a new job, of which nothing is counted.
local function add_stored_bytes(tenant, id, bytes)
  if bytes == 0 then return end
  redis.call('HSET', NAMES.stored_bytes .. tenant, id, bytes)
  redis.call('HINCRBY', NAMES.stored_bytes .. tenant, '@total', bytes)
end

local function count_stored_bytes(tenant, id, job)
  set_stored_bytes(tenant, id, redis.call('HSTRLEN', job, 'input') + redis.call('HSTRLEN', job, 'output'))
end
