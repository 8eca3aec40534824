-- Followers of a leader, and what happens to them and to the result when the leader ends. The field `leader` of a
-- follower's record is its current leader; it is rewritten when another job takes the lead, so that no expired
-- record is needed to find it.

local function follow(leader, id, deadline)
  redis.call('HSET', NAMES.job .. id, 'leader', leader)
  redis.call('ZADD', NAMES.followers .. leader, deadline, id)
end

local function unfollow(leader, id) redis.call('ZREM', NAMES.followers .. leader, id) end

local function has_followers(id) return redis.call('EXISTS', NAMES.followers .. id) == 1 end

-- Makes the followers due now. They are polled at intervals anyway, so a lost wake-up costs only time.
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

-- A duration, not an instant: Redis's clock may differ from the gateway's.
local function expire_dedup_entry(dedup_key, until_at, now)
  redis.call('PEXPIRE', dedup_key, string.format('%.0f', math.max(until_at - now, 0)))
end

-- Ends the lead: no job joins any more. An earlier success is kept until its expiry.
local function clear_leader(dedup_key, id, now)
  if redis.call('HGET', dedup_key, 'leader') ~= id then return end
  redis.call('HDEL', dedup_key, 'leader', 'leader_tenant', 'held_until')
  local until_at = redis.call('HGET', dedup_key, 'expires_at')
  if until_at then expire_dedup_entry(dedup_key, until_at, now) end
end

local function cache_result(dedup_key, id, output, cost, now, until_at)
  if output == '' or until_at <= tonumber(now) then return end
  redis.call('HSET', dedup_key, 'source', id, 'output', output, 'cost', cost,
    'expires_at', string.format('%.0f', until_at))
  if redis.call('HEXISTS', dedup_key, 'leader') == 0 then expire_dedup_entry(dedup_key, until_at, now) end
end

-- Forgets a deleted job's result, which would otherwise go on serving hits.
local function forget_result(dedup_key, id)
  if redis.call('HGET', dedup_key, 'source') ~= id then return end
  redis.call('HDEL', dedup_key, 'source', 'output', 'cost', 'expires_at')
end

-- Moves the followers of `before` to `leader`.
local function move_followers(before, leader)
  local members = redis.call('ZRANGE', NAMES.followers .. before, 0, -1, 'WITHSCORES')
  for index = 1, #members, 2 do follow(leader, members[index], members[index + 1]) end
  redis.call('DEL', NAMES.followers .. before)
end

-- Makes `successor`, a follower of `leader`, the leader of the other followers.
local function replace_leader(dedup_key, leader, successor, successor_tenant)
  unfollow(leader, successor)
  redis.call('HDEL', NAMES.job .. successor, 'leader')
  move_followers(leader, successor)
  set_leader(dedup_key, successor, successor_tenant, true)
end
