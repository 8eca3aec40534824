-- Start-time fair queueing (Goyal, Vin, Cheng 1996): which waiting job gets the next slot. Tenants take turns by
-- weight; within a tenant jobs run by priority, then age.
--
-- A job waits in the queue of its tenant and model. `queue_tenants` of a model has the tenants with such a queue
-- that are neither at their limit nor paused, by tag. `queue_ready` has the models that are neither at their limit
-- nor paused, by the tag of their first tenant. So the first entry of `queue_ready` can always run, and every job
-- that can run is reachable. A change of a tenant costs one step per model with waiting jobs; the cost of
-- everything else depends neither on the number of jobs nor of tenants.

local function queue_of(tenant, model) return NAMES.queue_jobs .. tenant .. ':' .. model end

-- Returns, by model, the jobs with their ranks and the first rank. A rank is priority * 1e15 + order of arrival.
local function rank_jobs(jobs)
  local queues, age = {}, redis.call('HINCRBY', NAMES.queue_tags, '@arrivals', #jobs) - #jobs
  for position, job in ipairs(jobs) do
    local rank = job.priority * 1e15 + age + position
    local queue = queues[job.model] or { first = rank, flat = {} }
    queue.first = math.min(queue.first, rank)
    append_pair(queue.flat, rank, job.id)
    queues[job.model] = queue
  end
  return queues
end

-- Queues jobs of one tenant: id, model and priority of each.
local function enqueue_jobs(tenant, jobs)
  local queues = rank_jobs(jobs)
  for model, queue in pairs(queues) do
    zadd_all(queue_of(tenant, model), queue.flat)
    redis.call('ZADD', NAMES.queue_models .. tenant, 'LT', queue.first, model)
  end
  if redis.call('HINCRBY', NAMES.waiting, tenant, #jobs) == #jobs then
    redis.call('HSET', NAMES.queue_tags, tenant, next_start_tag(tenant))
  end
  if is_blocked('tenant:' .. tenant) then return end
  local tag = redis.call('HGET', NAMES.queue_tags, tenant)
  for model in pairs(queues) do
    redis.call('ZADD', NAMES.queue_tenants .. model, tag, tenant)
    refresh_model(model)
  end
end

local function refresh_queue(tenant, model)
  local first = redis.call('ZRANGE', queue_of(tenant, model), 0, 0, 'WITHSCORES')
  if first[1] then
    redis.call('ZADD', NAMES.queue_models .. tenant, first[2], model)
  else
    redis.call('ZREM', NAMES.queue_models .. tenant, model)
    redis.call('ZREM', NAMES.queue_tenants .. model, tenant)
  end
end

-- Removes a job that ends without having had a slot.
local function dequeue_job(tenant, model, id)
  if redis.call('ZREM', queue_of(tenant, model), id) == 0 then return end
  add_to_counter(NAMES.waiting, tenant, -1)
  refresh_queue(tenant, model)
  refresh_model(model)
end

-- Raises the priority of a waiting job, if it is lower; its place by age stays.
local function raise_priority(tenant, model, id, priority)
  local queue = queue_of(tenant, model)
  local rank = tonumber(redis.call('ZSCORE', queue, id) or '')
  if not rank or rank < (priority + 1) * 1e15 then return end
  rank = priority * 1e15 + rank % 1e15
  redis.call('ZADD', queue, rank, id)
  redis.call('ZADD', NAMES.queue_models .. tenant, 'LT', rank, model)
end

local function grant_slot(tenant, model, id, wake_options)
  redis.call('HSET', NAMES.job .. id, 'slot', 1)
  start_jobs(tenant, { { id = id, model = model } }, wake_options)
end

local function start_next_job(model, wake_options)
  local tenant = redis.call('ZRANGE', NAMES.queue_tenants .. model, 0, 0)[1]
  for _, candidate in ipairs(redis.call('ZRANGE', NAMES.queue_models .. tenant, 0, -1)) do
    if not is_blocked('model:' .. candidate) then
      local id = redis.call('ZPOPMIN', queue_of(tenant, candidate))[1]
      add_to_counter(NAMES.waiting, tenant, -1)
      refresh_queue(tenant, candidate)
      grant_slot(tenant, candidate, id, wake_options)
      return refresh_model(candidate)
    end
  end
end

-- Starts waiting jobs on free slots, at most `max_starts`. Called after slots became free or jobs were queued.
local function dispatch(max_starts, wake_options)
  for _ = 1, max_starts do
    if is_blocked('all') then return end
    local model = redis.call('ZRANGE', NAMES.queue_ready, 0, 0)[1]
    if not model then return end
    start_next_job(model, wake_options)
  end
end

-- Frees the slot of a job that has ended.
local function release_slot(tenant, model)
  local tenant_was_blocked, model_was_blocked = is_blocked('tenant:' .. tenant), is_blocked('model:' .. model)
  for _, target in ipairs({ 'all', 'tenant:' .. tenant, 'model:' .. model }) do
    running[target] = add_to_counter(NAMES.running, target, -1)
  end
  if tenant_was_blocked then refresh_tenant(tenant) end
  if model_was_blocked then refresh_model(model) end
end

-- Moves a slot to another tenant with the running work, even beyond that tenant's limit. The first tenant may
-- then start its next job.
local function transfer_slot(from, to, wake_options)
  if from == to then return end
  local was_blocked = is_blocked('tenant:' .. from)
  running['tenant:' .. from] = add_to_counter(NAMES.running, 'tenant:' .. from, -1)
  running['tenant:' .. to] = add_to_counter(NAMES.running, 'tenant:' .. to, 1)
  if was_blocked then refresh_tenant(from) end
  refresh_tenant(to)
  dispatch(1, wake_options)
end
