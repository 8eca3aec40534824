-- Whose waiting job gets a slot next: start-time fair queueing over tenants by weight, priority and
-- age within a tenant, caps for the whole gateway, each tenant and each model.
--
-- A job waits in the lane of its tenant and its model. `turns` of a model holds the tenants that have
-- such a lane and are neither full nor paused, by tag; `heads` holds the models that are neither full
-- nor paused, by their first tenant's tag. So whatever stands first in `heads` can run: no look is in
-- vain, and nothing that may run is out of sight. A change of a tenant costs as many steps as it has
-- models waiting; nothing here costs more with more jobs or more tenants.
-- Tenants, models and jobs are found by these indexes, hence their keys are made here, from the names
-- that core/store/keys.py states.

local known, running, given = {}, {}, {}

local function learn(key, field, value) known[key .. '|' .. field] = tonumber(value or '') or false end

-- A limit, read once: no script changes one after it has read it.
local function setting(key, field)
  if known[key .. '|' .. field] == nil then learn(key, field, redis.call('HGET', key, field)) end
  return known[key .. '|' .. field]
end

local function paused(what)
  if not known.pauses then
    known.pauses = {}
    for _, name in ipairs(redis.call('SMEMBERS', NAMES.pauses)) do known.pauses[name] = true end
  end
  return known.pauses[what]
end

local function count(what)
  running[what] = running[what] or tonumber(redis.call('HGET', NAMES.running, what) or '0')
  return running[what]
end

-- Reads at once what an admission is going to ask for.
local function learn_all(tenant, model)
  local names = { 'all', 'tenant:' .. tenant, 'model:' .. model }
  for index, used in ipairs(redis.call('HMGET', NAMES.running, unpack(names))) do
    running[names[index]] = tonumber(used or '0')
  end
  local caps = redis.call('HMGET', NAMES.limits, 'running', 'model:' .. model)
  learn(NAMES.limits, 'running', caps[1])
  learn(NAMES.limits, 'model:' .. model, caps[2])
end

-- Full or paused. `what` is 'all', 'tenant:x' or 'model:y', in pauses and in slots alike.
local function closed(what, cap) return paused(what) or (cap and count(what) >= cap) end

local function gateway_closed() return closed('all', setting(NAMES.limits, 'running')) end

local function tenant_closed(tenant)
  return closed('tenant:' .. tenant, setting(NAMES.tenant .. tenant, 'running'))
end

local function model_closed(model)
  return closed('model:' .. model, setting(NAMES.limits, 'model:' .. model))
end

-- Counters that have come to nought are removed: hashes hold who is there, not who ever was.
local function add(hash, field, by)
  local sum = redis.call('HINCRBY', hash, field, by)
  if sum == 0 then redis.call('HDEL', hash, field) end
  return sum
end

local function change_slots(tenant, model, by)
  for _, what in ipairs({ 'all', 'tenant:' .. tenant, 'model:' .. model }) do
    running[what] = add(NAMES.running, what, by)
  end
end

local function lane_of(tenant, model) return NAMES.wait .. tenant .. ':' .. model end

-- When a tenant's next turn starts: no earlier than now, no earlier than what it has had allows.
local function next_start(tenant)
  local tags = redis.call('HMGET', NAMES.fair, '@now', tenant)
  return math.max(tonumber(tags[1] or 0), tonumber(tags[2] or 0))
end

local function show_model(model)
  local first = redis.call('ZRANGE', NAMES.turns .. model, 0, 0, 'WITHSCORES')
  if first[1] and not model_closed(model) then
    redis.call('ZADD', NAMES.heads, first[2], model)
  else
    redis.call('ZREM', NAMES.heads, model)
  end
end

-- Puts a tenant where it belongs after its tag, its cap, its pause or its slots have changed.
local function show_tenant(tenant)
  local models = redis.call('ZRANGE', NAMES.lanes .. tenant, 0, -1)
  if #models == 0 then return end
  local out, tag = tenant_closed(tenant), redis.call('HGET', NAMES.fair, tenant) or 0
  for _, model in ipairs(models) do
    if out then
      redis.call('ZREM', NAMES.turns .. model, tenant)
    else
      redis.call('ZADD', NAMES.turns .. model, tag, tenant)
    end
    show_model(model)
  end
end

local function wait_in_lane(tenant, model, id, priority)
  local rank = priority * 1e15 + redis.call('HINCRBY', NAMES.fair, '@age', 1)
  redis.call('ZADD', lane_of(tenant, model), rank, id)
  redis.call('ZADD', NAMES.lanes .. tenant, 'LT', rank, model)
  if redis.call('HINCRBY', NAMES.waiting, tenant, 1) == 1 then
    redis.call('HSET', NAMES.fair, tenant, next_start(tenant))
  end
  if tenant_closed(tenant) then return end
  redis.call('ZADD', NAMES.turns .. model, redis.call('HGET', NAMES.fair, tenant), tenant)
  show_model(model)
end

local function show_lane(tenant, model)
  local first = redis.call('ZRANGE', lane_of(tenant, model), 0, 0, 'WITHSCORES')
  if first[1] then
    redis.call('ZADD', NAMES.lanes .. tenant, first[2], model)
  else
    redis.call('ZREM', NAMES.lanes .. tenant, model)
    redis.call('ZREM', NAMES.turns .. model, tenant)
  end
end

-- A job that stops waiting for another reason than a slot.
local function leave_lane(tenant, model, id)
  if redis.call('ZREM', lane_of(tenant, model), id) == 0 then return end
  add(NAMES.waiting, tenant, -1)
  show_lane(tenant, model)
  show_model(model)
end

-- A job that waits is wanted more urgently than it was: it keeps its age.
local function hurry(tenant, model, id, priority)
  local lane = lane_of(tenant, model)
  local rank = tonumber(redis.call('ZSCORE', lane, id) or '')
  if not rank or rank < (priority + 1) * 1e15 then return end
  rank = priority * 1e15 + rank % 1e15
  redis.call('ZADD', lane, rank, id)
  redis.call('ZADD', NAMES.lanes .. tenant, 'LT', rank, model)
end

local function give_slot(tenant, model, id, bell)
  given[id] = true
  redis.call('HSET', NAMES.job .. id, 'slot', 1)
  change_slots(tenant, model, 1)
  local start, weight = next_start(tenant), setting(NAMES.tenant .. tenant, 'weight') or 1
  redis.call('HSET', NAMES.fair, '@now', start, tenant, start + 1 / math.max(weight, 0.001))
  redis.call('ZADD', NAMES.due, bell.due_at, id)
  local name = id .. ':0'
  redis.call('SET', NAMES.message .. name, (string.gsub(bell.template, '@job@', id)), 'PX', bell.ttl)
  redis.call('ZADD', NAMES.bell, bell.now, name)
  show_tenant(tenant)
end

-- Whether a job that comes now runs now: there is room, and nobody waits who could run before it.
local function runs_at_once(tenant, model)
  if gateway_closed() or tenant_closed(tenant) or model_closed(model) then return false end
  return redis.call('EXISTS', NAMES.heads) == 0
end

local function serve(model, bell)
  local tenant = redis.call('ZRANGE', NAMES.turns .. model, 0, 0)[1]
  for _, lane in ipairs(redis.call('ZRANGE', NAMES.lanes .. tenant, 0, -1)) do
    if not model_closed(lane) then
      local id = redis.call('ZPOPMIN', lane_of(tenant, lane))[1]
      add(NAMES.waiting, tenant, -1)
      show_lane(tenant, lane)
      give_slot(tenant, lane, id, bell)
      return show_model(lane)
    end
  end
end

-- Hands out free slots, at most `most`; whoever frees slots or adds jobs calls this.
local function dispatch(most, bell)
  for _ = 1, most do
    if gateway_closed() then return end
    local model = redis.call('ZRANGE', NAMES.heads, 0, 0)[1]
    if not model then return end
    serve(model, bell)
  end
end

-- A job with a slot has ended: the slot is free for its tenant and its model.
local function give_back(tenant, model)
  local tenant_was, model_was = tenant_closed(tenant), model_closed(model)
  change_slots(tenant, model, -1)
  if tenant_was then show_tenant(tenant) end
  if model_was then show_model(model) end
end

-- A slot goes from one tenant to another with the work that holds it, even beyond a cap.
local function pass_slot(from, to)
  if from == to then return end
  local was_closed = tenant_closed(from)
  running['tenant:' .. from] = add(NAMES.running, 'tenant:' .. from, -1)
  running['tenant:' .. to] = add(NAMES.running, 'tenant:' .. to, 1)
  if was_closed then show_tenant(from) end
  show_tenant(to)
end
