-- Whose waiting job gets a slot next: start-time fair queueing over tenants by weight, priority and
-- age within a tenant.
--
-- A job waits in the lane of its tenant and its model. `turns` of a model holds the tenants that have
-- such a lane and are neither full nor paused, by tag; `heads` holds the models that are neither full
-- nor paused, by their first tenant's tag. So whatever stands first in `heads` can run: no look is in
-- vain, and nothing that may run is out of sight. A change of a tenant costs as many steps as it has
-- models waiting; nothing here costs more with more jobs or more tenants.

local function lane_of(tenant, model) return NAMES.wait .. tenant .. ':' .. model end

-- By model, the jobs with their ranks and the first rank: one after the other as they are given.
local function ranked(jobs)
  local lanes, age = {}, redis.call('HINCRBY', NAMES.fair, '@age', #jobs) - #jobs
  for position, job in ipairs(jobs) do
    local rank = job.priority * 1e15 + age + position
    local lane = lanes[job.model] or { first = rank, flat = {} }
    lane.first = math.min(lane.first, rank)
    put(lane.flat, rank, job.id)
    lanes[job.model] = lane
  end
  return lanes
end

-- Jobs of one tenant begin to wait: of each its id, its model and its priority.
local function wait_in_lanes(tenant, jobs)
  local lanes = ranked(jobs)
  for model, lane in pairs(lanes) do
    write_scores(lane_of(tenant, model), lane.flat)
    redis.call('ZADD', NAMES.lanes .. tenant, 'LT', lane.first, model)
  end
  if redis.call('HINCRBY', NAMES.waiting, tenant, #jobs) == #jobs then
    redis.call('HSET', NAMES.fair, tenant, next_start(tenant))
  end
  if closed('tenant:' .. tenant) then return end
  local tag = redis.call('HGET', NAMES.fair, tenant)
  for model in pairs(lanes) do
    redis.call('ZADD', NAMES.turns .. model, tag, tenant)
    show_model(model)
  end
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
  redis.call('HSET', NAMES.job .. id, 'slot', 1)
  start_jobs(tenant, { { id = id, model = model } }, bell)
end

local function serve(model, bell)
  local tenant = redis.call('ZRANGE', NAMES.turns .. model, 0, 0)[1]
  for _, lane in ipairs(redis.call('ZRANGE', NAMES.lanes .. tenant, 0, -1)) do
    if not closed('model:' .. lane) then
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
    if closed('all') then return end
    local model = redis.call('ZRANGE', NAMES.heads, 0, 0)[1]
    if not model then return end
    serve(model, bell)
  end
end

-- A job with a slot has ended: the slot is free for its tenant and its model.
local function give_back(tenant, model)
  local tenant_was, model_was = closed('tenant:' .. tenant), closed('model:' .. model)
  for _, what in ipairs({ 'all', 'tenant:' .. tenant, 'model:' .. model }) do
    running[what] = add(NAMES.running, what, -1)
  end
  if tenant_was then show_tenant(tenant) end
  if model_was then show_model(model) end
end

-- A slot goes from one tenant to another with the work that holds it, even beyond a cap. The first one's
-- next job may run in its stead.
local function pass_slot(from, to, bell)
  if from == to then return end
  local was_closed = closed('tenant:' .. from)
  running['tenant:' .. from] = add(NAMES.running, 'tenant:' .. from, -1)
  running['tenant:' .. to] = add(NAMES.running, 'tenant:' .. to, 1)
  if was_closed then show_tenant(from) end
  show_tenant(to)
  dispatch(1, bell)
end
