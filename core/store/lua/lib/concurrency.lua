-- Concurrency: limits and pauses of the whole gateway, of each tenant and of each model, and the slots in use.
-- A `target` is 'all', 'tenant:x' or 'model:y', in limits, pauses and slots alike.
-- Keys are built here, because tenants, models and jobs are found through indexes.

-- Read once per script: no script changes a limit or a weight after reading it.
local caps, weights, running, started, cached = {}, {}, {}, {}, {}
-- Slots that jobs of this script are going to take: a batch writes only after its last decision.
local planned = {}

local function cap_of(target)
  if caps[target] == nil then
    local tenant = string.match(target, '^tenant:(.*)$')
    local cap = tenant and redis.call('HGET', NAMES.tenant .. tenant, 'running')
      or not tenant and redis.call('HGET', NAMES.limits, target == 'all' and 'running' or target)
    caps[target] = tonumber(cap) or false
  end
  return caps[target]
end

local function weight_of(tenant)
  weights[tenant] = weights[tenant] or tonumber(redis.call('HGET', NAMES.tenant .. tenant, 'weight')) or 1
  return weights[tenant]
end

local function is_paused(target)
  if not cached.pauses then
    cached.pauses = {}
    for _, name in ipairs(redis.call('HKEYS', NAMES.pauses)) do cached.pauses[name] = true end
  end
  return cached.pauses[target]
end

local function in_use(target)
  running[target] = running[target] or tonumber(redis.call('HGET', NAMES.running, target) or '0')
  return running[target] + (planned[target] or 0)
end

local function plan_start(tenant, model, by)
  for _, target in ipairs({ 'all', 'tenant:' .. tenant, 'model:' .. model }) do
    planned[target] = (planned[target] or 0) + by
  end
end

-- Reads with two commands what an admission needs.
local function preload(tenant, model, policy)
  local as_tenant, as_model = 'tenant:' .. tenant, 'model:' .. model
  local used = redis.call('HMGET', NAMES.running, 'all', as_tenant, as_model)
  local limits = redis.call('HMGET', NAMES.limits, 'running', as_model)
  running.all, running[as_tenant] = tonumber(used[1]) or 0, tonumber(used[2]) or 0
  running[as_model] = tonumber(used[3]) or 0
  caps.all, caps[as_tenant] = tonumber(limits[1]) or false, policy.running or false
  caps[as_model] = tonumber(limits[2]) or false
  weights[tenant] = policy.weight
end

-- Whether the target is at its limit or paused.
local function is_blocked(target)
  local cap = cap_of(target)
  return cap and in_use(target) >= cap or is_paused(target)
end

-- Removes a counter at zero, so that the hash does not keep every tenant and model that ever ran a job.
local function add_to_counter(hash, field, by)
  local sum = redis.call('HINCRBY', hash, field, by)
  if sum == 0 then redis.call('HDEL', hash, field) end
  return sum
end

local function take_slots(tenant, model, number)
  local as_tenant, as_model = 'tenant:' .. tenant, 'model:' .. model
  running.all, running[as_tenant] = in_use('all') + number, in_use(as_tenant) + number
  running[as_model] = in_use(as_model) + number
  redis.call('HSET', NAMES.running, 'all', running.all, as_tenant, running[as_tenant],
    as_model, running[as_model])
end

-- The tenant's next start tag: not before the current virtual time, and not before its own last one allows.
local function next_start_tag(tenant)
  local tags = redis.call('HMGET', NAMES.queue_tags, '@virtual_time', tenant)
  return math.max(tonumber(tags[1]) or 0, tonumber(tags[2]) or 0)
end

-- Each started job moves the tenant's tag on by 1 / weight.
local function advance_tag(tenant, times)
  local start, share = next_start_tag(tenant), 1 / math.max(weight_of(tenant), 0.001)
  for _ = 2, times do start = start + share end
  redis.call('HSET', NAMES.queue_tags, '@virtual_time', start, tenant, start + share)
end

local function refresh_model(model)
  local first = redis.call('ZRANGE', NAMES.queue_tenants .. model, 0, 0, 'WITHSCORES')
  if first[1] and not is_blocked('model:' .. model) then
    redis.call('ZADD', NAMES.queue_ready, first[2], model)
  else
    redis.call('ZREM', NAMES.queue_ready, model)
  end
end

-- Updates the queues after a change of the tenant's tag, limit, pause or slots.
local function refresh_tenant(tenant)
  local models = redis.call('ZRANGE', NAMES.queue_models .. tenant, 0, -1)
  if #models == 0 then return end
  local blocked, tag = is_blocked('tenant:' .. tenant), redis.call('HGET', NAMES.queue_tags, tenant) or 0
  for _, model in ipairs(models) do
    if blocked then
      redis.call('ZREM', NAMES.queue_tenants .. model, tenant)
    else
      redis.call('ZADD', NAMES.queue_tenants .. model, tag, tenant)
    end
    refresh_model(model)
  end
end

-- Starts jobs of one tenant (id and model of each) whose records have the field `slot`.
local function start_jobs(tenant, jobs, wake_options)
  local numbers, due, wake_messages = {}, {}, {}
  local from, to = string.find(wake_options.template, '@job@', 1, true)
  local head, tail = string.sub(wake_options.template, 1, from - 1), string.sub(wake_options.template, to + 1)
  for _, job in ipairs(jobs) do
    local name = job.id .. ':0'
    started[job.id] = true
    numbers[job.model] = (numbers[job.model] or 0) + 1
    redis.call('SET', NAMES.message .. name, head .. job.id .. tail, 'PX', wake_options.ttl)
    append_pair(due, wake_options.due_at, job.id)
    append_pair(wake_messages, wake_options.now, name)
  end
  planned = {}
  for model, number in pairs(numbers) do take_slots(tenant, model, number) end
  advance_tag(tenant, #jobs)
  zadd_all(NAMES.due, due)
  zadd_all(NAMES.wake, wake_messages)
  refresh_tenant(tenant)
end

-- Whether a new job can start now: a slot is free, and no waiting job could take it first.
-- A batch must call this for all its jobs before it writes.
local function can_start_now(tenant, model)
  if is_blocked('all') or is_blocked('tenant:' .. tenant) or is_blocked('model:' .. model) then return false end
  if cached.has_ready_models == nil then cached.has_ready_models = redis.call('EXISTS', NAMES.queue_ready) == 1 end
  return not cached.has_ready_models
end
