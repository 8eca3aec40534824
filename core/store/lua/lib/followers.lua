-- Who follows whom, and what becomes of them and of a result as the leader goes. A follower's record
-- names in `leader` the job that it follows now; that is written anew when another takes the lead, so
-- that no record of a job that has ended is needed to find it.

local function follow(leader, id, finish_by)
  redis.call('HSET', NAMES.job .. id, 'leader', leader)
  redis.call('ZADD', NAMES.followers .. leader, finish_by, id)
end

local function unfollow(leader, id) redis.call('ZREM', NAMES.followers .. leader, id) end

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

-- Spans, not instants, are told to Redis: its clock is not the gateway's.
local function forget_at(once, until_at, now)
  redis.call('PEXPIRE', once, string.format('%.0f', math.max(until_at - now, 0)))
end

-- Nobody joins any more. What an earlier success left stays for its time.
local function stop_leading(once, id, now)
  if redis.call('HGET', once, 'leader') ~= id then return end
  redis.call('HDEL', once, 'leader', 'of')
  local until_at = redis.call('HGET', once, 'until')
  if until_at then forget_at(once, until_at, now) end
end

local function keep_result(once, id, output, cost, now, until_at)
  if output == '' or until_at <= tonumber(now) then return end
  redis.call('HSET', once, 'source', id, 'output', output, 'cost', cost, 'until', string.format('%.0f', until_at))
  if redis.call('HEXISTS', once, 'leader') == 0 then forget_at(once, until_at, now) end
end

-- Whoever followed `before` follows `leader` from now on.
local function follow_another(before, leader)
  local members = redis.call('ZRANGE', NAMES.followers .. before, 0, -1, 'WITHSCORES')
  for index = 1, #members, 2 do follow(leader, members[index], members[index + 1]) end
  redis.call('DEL', NAMES.followers .. before)
end

-- `heir` leads in the place of `leader`: the others follow it.
local function succeed(once, leader, heir, heir_tenant)
  unfollow(leader, heir)
  redis.call('HDEL', NAMES.job .. heir, 'leader')
  follow_another(leader, heir)
  lead(once, heir, heir_tenant, true)
end
