-- What runs and what may: caps and pauses of the whole gateway, each tenant and each model, the slots in
-- use, whose turn it is. `what` is 'all', 'tenant:x' or 'model:y', in caps, pauses and slots alike.
-- Tenants, models and jobs are found by indexes, hence their keys are made here, from the names that
-- core/store/keys.py states.

-- What was read is not read again: no script changes a cap or a weight after that.
local caps, weights, running, given, seen = {}, {}, {}, {}, {}
-- Slots that are as good as taken: whoever decides about several jobs writes after the last decision.
local expected = {}

local function cap_of(what)
  if caps[what] == nil then
    local tenant = string.match(what, '^tenant:(.*)$')
    local cap = tenant and redis.call('HGET', NAMES.tenant .. tenant, 'running')
      or not tenant and redis.call('HGET', NAMES.limits, what == 'all' and 'running' or what)
    caps[what] = tonumber(cap) or false
  end
  return caps[what]
end

local function weight_of(tenant)
  weights[tenant] = weights[tenant] or tonumber(redis.call('HGET', NAMES.tenant .. tenant, 'weight')) or 1
  return weights[tenant]
end

local function paused(what)
  if not seen.pauses then
    seen.pauses = {}
    for _, name in ipairs(redis.call('SMEMBERS', NAMES.pauses)) do seen.pauses[name] = true end
  end
  return seen.pauses[what]
end

local function count(what)
  running[what] = running[what] or tonumber(redis.call('HGET', NAMES.running, what) or '0')
  return running[what] + (expected[what] or 0)
end

local function expect_start(tenant, model)
  for _, what in ipairs({ 'all', 'tenant:' .. tenant, 'model:' .. model }) do
    expected[what] = (expected[what] or 0) + 1
  end
end

-- Reads at once what an admission is going to ask for.
local function learn(tenant, model, policy)
  local as_tenant, as_model = 'tenant:' .. tenant, 'model:' .. model
  local used = redis.call('HMGET', NAMES.running, 'all', as_tenant, as_model)
  local limits = redis.call('HMGET', NAMES.limits, 'running', as_model)
  running.all, running[as_tenant] = tonumber(used[1]) or 0, tonumber(used[2]) or 0
  running[as_model] = tonumber(used[3]) or 0
  caps.all, caps[as_tenant] = tonumber(limits[1]) or false, policy.running or false
  caps[as_model] = tonumber(limits[2]) or false
  weights[tenant] = policy.weight
end

-- Full or paused.
local function closed(what)
  local cap = cap_of(what)
  return cap and count(what) >= cap or paused(what)
end

-- Counters that have come to nought are removed: hashes hold who is there, not who ever was.
local function add(hash, field, by)
  local sum = redis.call('HINCRBY', hash, field, by)
  if sum == 0 then redis.call('HDEL', hash, field) end
  return sum
end

local function take_slots(tenant, model, number)
  local as_tenant, as_model = 'tenant:' .. tenant, 'model:' .. model
  running.all, running[as_tenant] = count('all') + number, count(as_tenant) + number
  running[as_model] = count(as_model) + number
  redis.call('HSET', NAMES.running, 'all', running.all, as_tenant, running[as_tenant],
    as_model, running[as_model])
end

-- When a tenant's next turn starts: no earlier than now, no earlier than what it has had allows.
local function next_start(tenant)
  local tags = redis.call('HMGET', NAMES.fair, '@now', tenant)
  return math.max(tonumber(tags[1]) or 0, tonumber(tags[2]) or 0)
end

-- Each start moves the tenant's next one on by its share.
local function take_turns(tenant, times)
  local start, share = next_start(tenant), 1 / math.max(weight_of(tenant), 0.001)
  for _ = 2, times do start = start + share end
  redis.call('HSET', NAMES.fair, '@now', start, tenant, start + share)
end

local function show_model(model)
  local first = redis.call('ZRANGE', NAMES.turns .. model, 0, 0, 'WITHSCORES')
  if first[1] and not closed('model:' .. model) then
    redis.call('ZADD', NAMES.heads, first[2], model)
  else
    redis.call('ZREM', NAMES.heads, model)
  end
end

-- Puts a tenant where it belongs after its tag, its cap, its pause or its slots have changed.
local function show_tenant(tenant)
  local models = redis.call('ZRANGE', NAMES.lanes .. tenant, 0, -1)
  if #models == 0 then return end
  local out, tag = closed('tenant:' .. tenant), redis.call('HGET', NAMES.fair, tenant) or 0
  for _, model in ipairs(models) do
    if out then
      redis.call('ZREM', NAMES.turns .. model, tenant)
    else
      redis.call('ZADD', NAMES.turns .. model, tag, tenant)
    end
    show_model(model)
  end
end

-- Jobs of one tenant have got slots, as their records say: of each its id and its model.
local function start_jobs(tenant, jobs, bell)
  local numbers, due, rung = {}, {}, {}
  local from, to = string.find(bell.template, '@job@', 1, true)
  local head, tail = string.sub(bell.template, 1, from - 1), string.sub(bell.template, to + 1)
  for _, job in ipairs(jobs) do
    local name = job.id .. ':0'
    given[job.id] = true
    numbers[job.model] = (numbers[job.model] or 0) + 1
    redis.call('SET', NAMES.message .. name, head .. job.id .. tail, 'PX', bell.ttl)
    put(due, bell.due_at, job.id)
    put(rung, bell.now, name)
  end
  expected = {}
  for model, number in pairs(numbers) do take_slots(tenant, model, number) end
  take_turns(tenant, #jobs)
  write_scores(NAMES.due, due)
  write_scores(NAMES.bell, rung)
  show_tenant(tenant)
end

-- Whether a job that comes now runs now: there is room, and nobody waits who could run before it.
-- Who asks for several asks before it writes.
local function runs_at_once(tenant, model)
  if closed('all') or closed('tenant:' .. tenant) or closed('model:' .. model) then return false end
  if seen.heads == nil then seen.heads = redis.call('EXISTS', NAMES.heads) == 1 end
  return not seen.heads
end
