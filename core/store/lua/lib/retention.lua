-- How long what is known of a job is kept, as its tenant wishes: the input not longer than it may have
-- to be sent, the whole not longer than `result_ttl` (ms), once nobody has to be told of it any more.
local SENDABLE = { queued = true, submitting = true, in_doubt = true, following = true }

local function delete_input(tenant, job, state)
  if SENDABLE[state] then return end
  if redis.call('HGET', NAMES.tenant .. tenant, 'keep_inputs') == '0' then redis.call('HDEL', job, 'input') end
end

-- Whether a callback about the job is still to be tried.
local function has_pending_deliveries(job_deliveries)
  for _, id in ipairs(redis.call('LRANGE', job_deliveries, 0, -1)) do
    local doc = redis.call('HGET', NAMES.delivery .. id, 'doc')
    if doc and cjson.decode(doc).next_attempt_at ~= cjson.null then return true end
  end
  return false
end

-- No less than `min_ttl` ms from now, whatever was said before.
local function extend_ttl(job, timeline, job_deliveries, min_ttl)
  for _, key in ipairs({ job, timeline, job_deliveries }) do
    local left = redis.call('PTTL', key)
    if left >= 0 and left < min_ttl then redis.call('PEXPIRE', key, min_ttl) end
  end
end

-- Redis's own clock, in ms: spans that are counted from one reading of it end together, while each
-- PEXPIRE of a script counts from an instant of its own.
local function redis_time_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function expire(keys, at)
  for _, key in ipairs(keys) do redis.call('PEXPIREAT', key, string.format('%.0f', at)) end
end

-- Sets when a job that has ended goes. `tenant_ttl` is for a job that nobody must look at again (`due_at` is
-- '') or be told of, and no less than `min_ttl` ms where somebody was told or is still to take the result
-- over (`followed`); until then it stands in the
-- record by its instant, and the job is kept for `ttl` seconds, as its idempotency `key` is.
local function set_retention(job, timeline, job_deliveries, options)
  local tenant_ttl = tonumber(redis.call('HGET', NAMES.tenant .. options.tenant, 'result_ttl') or '')
  local left = options.ttl * 1000
  local started_at = redis_time_ms()
  if options.key then expire({ options.key }, started_at + left) end
  if tenant_ttl and tenant_ttl < left then
    if options.due_at ~= '' or has_pending_deliveries(job_deliveries) then
      redis.call('HSET', job, 'expires_at', string.format('%.0f', options.now + tenant_ttl))
    else
      local needed = options.followed or redis.call('EXISTS', job_deliveries) == 1
      left = needed and math.max(tenant_ttl, tonumber(options.min_ttl)) or tenant_ttl
    end
  end
  expire({ job, timeline, job_deliveries }, started_at + left)
end

-- The last callback about a job has been tried: its tenant's own time holds now, but no less than
-- `min_ttl` ms from now.
local function apply_tenant_ttl(job, timeline, job_deliveries, id, now, min_ttl)
  local at = tonumber(redis.call('HGET', job, 'expires_at') or '')
  if not at or redis.call('ZSCORE', NAMES.due, id) or has_pending_deliveries(job_deliveries) then return end
  expire({ job, timeline, job_deliveries }, redis_time_ms() + math.max(at - now, min_ttl))
end
