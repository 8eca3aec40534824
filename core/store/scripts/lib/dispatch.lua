-- Whose waiting job gets a slot next: start-time fair queueing over tenants by weight, priority and
-- age within a tenant, caps for the whole gateway, each tenant and each model. Work-conserving.
--
-- A tenant with waiting jobs stands in `turns` by its start tag, unless it is full or paused. Its
-- jobs wait in one lane a model; a lane whose model is full or paused is parked with that model, so
-- that every look at it is paid for once. Tenants, lanes and jobs are found by their indexes, hence
-- their keys are made here, from the names that core/store/keys.py states.

local function count(name) return tonumber(redis.call('HGET', NAMES.running, name) or '0') end

local function full(limit, used) return limit and limit ~= '' and used >= tonumber(limit) end

local function paused(what) return redis.call('SISMEMBER', NAMES.pauses, what) == 1 end

local function gateway_full()
  return paused('all') or full(redis.call('HGET', NAMES.limits, 'running'), count('all'))
end

local function tenant_full(tenant)
  local cap = redis.call('HGET', NAMES.tenant .. tenant, 'running')
  return paused('tenant:' .. tenant) or full(cap, count('tenant:' .. tenant))
end

local function model_full(model)
  local cap = redis.call('HGET', NAMES.limits, 'model:' .. model)
  return paused('model:' .. model) or full(cap, count('model:' .. model))
end

local function lane_of(tenant, model) return NAMES.wait .. tenant .. ':' .. model end

-- A tenant that has something to run takes its place: no earlier than now, no earlier than its due.
local function stand_in_turns(tenant)
  if redis.call('EXISTS', NAMES.lanes .. tenant) == 0 then return end
  if redis.call('ZSCORE', NAMES.turns, tenant) then return end
  local tags = redis.call('HMGET', NAMES.fair, '@now', tenant)
  redis.call('ZADD', NAMES.turns, math.max(tonumber(tags[1] or 0), tonumber(tags[2] or 0)), tenant)
end

local function wait_in_lane(tenant, model, id, rank)
  redis.call('ZADD', lane_of(tenant, model), rank, id)
  redis.call('HINCRBY', NAMES.waiting, tenant, 1)
  if not redis.call('ZSCORE', NAMES.parked .. model, tenant) then
    redis.call('ZADD', NAMES.lanes .. tenant, 'LT', rank, model)
    stand_in_turns(tenant)
  end
end

local function show_lane(tenant, model)
  local head = redis.call('ZRANGE', lane_of(tenant, model), 0, 0, 'WITHSCORES')
  if head[1] then
    redis.call('ZADD', NAMES.lanes .. tenant, head[2], model)
  else
    redis.call('ZREM', NAMES.lanes .. tenant, model)
  end
end

-- A job that stops waiting for another reason than a slot.
local function leave_lane(tenant, model, id)
  if redis.call('ZREM', lane_of(tenant, model), id) == 0 then return end
  redis.call('HINCRBY', NAMES.waiting, tenant, -1)
  if redis.call('ZSCORE', NAMES.parked .. model, tenant) then
    if redis.call('EXISTS', lane_of(tenant, model)) == 0 then
      redis.call('ZREM', NAMES.parked .. model, tenant)
    end
    return
  end
  show_lane(tenant, model)
  if redis.call('EXISTS', NAMES.lanes .. tenant) == 0 then redis.call('ZREM', NAMES.turns, tenant) end
end

local function next_lane(tenant)
  while true do
    local lane = redis.call('ZRANGE', NAMES.lanes .. tenant, 0, 0)[1]
    if not lane or not model_full(lane) then return lane end
    redis.call('ZREM', NAMES.lanes .. tenant, lane)
    redis.call('ZADD', NAMES.parked .. lane, tonumber(redis.call('HGET', NAMES.fair, tenant) or 0), tenant)
  end
end

local function unpark(model, most)
  local waiting = redis.call('ZPOPMIN', NAMES.parked .. model, most)
  for index = 1, #waiting, 2 do
    show_lane(waiting[index], model)
    if not tenant_full(waiting[index]) then stand_in_turns(waiting[index]) end
  end
end

local function change_slots(tenant, model, by)
  redis.call('HINCRBY', NAMES.running, 'all', by)
  redis.call('HINCRBY', NAMES.running, 'tenant:' .. tenant, by)
  redis.call('HINCRBY', NAMES.running, 'model:' .. model, by)
end

local function give_slot(tenant, model, id, bell)
  redis.call('HSET', NAMES.job .. id, 'slot', 1)
  redis.call('HINCRBY', NAMES.waiting, tenant, -1)
  change_slots(tenant, model, 1)
  redis.call('ZADD', NAMES.due, bell.due_at, id)
  local name = id .. ':0'
  redis.call('SET', NAMES.message .. name, (string.gsub(bell.template, '@job@', id)), 'PX', bell.ttl)
  redis.call('ZADD', NAMES.bell, bell.now, name)
end

local function serve(tenant, start, bell)
  local lane = not tenant_full(tenant) and next_lane(tenant)
  if not lane then
    redis.call('ZREM', NAMES.turns, tenant)
    return
  end
  local id = redis.call('ZPOPMIN', lane_of(tenant, lane))[1]
  show_lane(tenant, lane)
  give_slot(tenant, lane, id, bell)
  local weight = tonumber(redis.call('HGET', NAMES.tenant .. tenant, 'weight') or 1)
  local finish = start + 1 / weight
  redis.call('HSET', NAMES.fair, '@now', start, tenant, finish)
  if redis.call('EXISTS', NAMES.lanes .. tenant) == 1 then
    redis.call('ZADD', NAMES.turns, finish, tenant)
  else
    redis.call('ZREM', NAMES.turns, tenant)
  end
end

-- Hand out free slots, at most `most` looks; whoever frees slots or adds jobs calls this.
local function dispatch(most, bell)
  for _ = 1, most do
    if gateway_full() then return end
    local first = redis.call('ZRANGE', NAMES.turns, 0, 0, 'WITHSCORES')
    if not first[1] then return end
    serve(first[1], tonumber(first[2]), bell)
  end
end

-- A job with a slot has ended: the slot is free for its tenant and its model.
local function give_back(tenant, model)
  change_slots(tenant, model, -1)
  unpark(model, 16)
  if not tenant_full(tenant) then stand_in_turns(tenant) end
end
