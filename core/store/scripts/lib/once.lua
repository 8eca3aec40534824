-- One paid job for identical requests: who leads (its work is paid for), who follows, what is kept.
-- `once` is the hash of one canonical input within one scope: `leader`, `of` (its tenant), and of the
-- last success `output`, `cost`, `source`, `until`. A follower that outlives its leader finds the job
-- that took its place by the leader's `successor`.

local function once_key(policy, tenant_name, fingerprint)
  return NAMES.once .. (policy.cache_shared and '@shared' or tenant_name) .. ':' .. fingerprint
end

local function look_up(once, now)
  local held = redis.call('HMGET', once, 'leader', 'of', 'until', 'source', 'cost', 'output')
  return {
    leader = held[1], of = held[2], source = held[4], cost = held[5],
    output = held[6] and tonumber(held[3]) > now and held[6],
  }
end

local function lead(once, id, tenant_name)
  redis.call('HSET', once, 'leader', id, 'of', tenant_name)
  redis.call('PERSIST', once)
end

local function current_leader(id)
  for _ = 1, 1000 do
    local successor = redis.call('HGET', NAMES.job .. id, 'successor')
    if not successor then return id end
    id = successor
  end
  return id
end

local function follow(leader, id, finish_by)
  redis.call('HSET', NAMES.job .. id, 'leader', leader)
  redis.call('ZADD', NAMES.followers .. leader, finish_by, id)
end

local function unfollow(leader, id) redis.call('ZREM', NAMES.followers .. current_leader(leader), id) end

local function is_followed(id) return redis.call('EXISTS', NAMES.followers .. id) == 1 end

-- Followers look at their leader when it has news; they look now and then anyway.
local function wake_followers(leader, now)
  local ids = redis.call('ZRANGE', NAMES.followers .. leader, 0, -1)
  for first = 1, #ids, 500 do
    local due = {}
    for index = first, math.min(first + 499, #ids) do
      due[#due + 1] = now
      due[#due + 1] = ids[index]
    end
    redis.call('ZADD', NAMES.due, 'XX', unpack(due))
  end
end

-- Nobody joins any more. What an earlier success left stays for its time.
local function stop_leading(once, id)
  if redis.call('HGET', once, 'leader') ~= id then return end
  redis.call('HDEL', once, 'leader', 'of')
  local until_at = redis.call('HGET', once, 'until')
  if until_at then redis.call('PEXPIREAT', once, until_at) end
end

local function keep_result(once, id, output, cost, now, until_at)
  if output == '' or until_at <= tonumber(now) then return end
  redis.call('HSET', once, 'source', id, 'output', output, 'cost', cost, 'until', string.format('%.0f', until_at))
  if redis.call('HEXISTS', once, 'leader') == 0 then redis.call('PEXPIREAT', once, string.format('%.0f', until_at)) end
end

-- `heir` leads in the place of `leader`: the others follow it from now on.
local function succeed(once, leader, heir, heir_tenant)
  redis.call('ZREM', NAMES.followers .. leader, heir)
  redis.call('HSET', NAMES.job .. leader, 'successor', heir)
  redis.call('HDEL', NAMES.job .. heir, 'leader')
  if is_followed(leader) then
    redis.call('ZUNIONSTORE', NAMES.followers .. heir, 2, NAMES.followers .. heir, NAMES.followers .. leader)
    redis.call('DEL', NAMES.followers .. leader)
  end
  lead(once, heir, heir_tenant)
end
