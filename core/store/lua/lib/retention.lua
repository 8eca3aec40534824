-- How long a job's data is kept, within its tenant's settings: the input only while it may still have to be submitted,
-- the record for `result_ttl` (ms) once no delivery about it is pending.
local SENDABLE = { queued = true, submitting = true, in_doubt = true, following = true }

local function delete_input(tenant, job, state)
  if SENDABLE[state] then return end
  if redis.call('HGET', NAMES.tenant .. tenant, 'keep_inputs') == '0' then redis.call('HDEL', job, 'input') end
end

-- Whether a delivery about the job is pending.
local function has_pending_deliveries(job_deliveries)
  for _, id in ipairs(redis.call('LRANGE', job_deliveries, 0, -1)) do
    local doc = redis.call('HGET', NAMES.delivery .. id, 'doc')
    if doc and cjson.decode(doc).next_attempt_at ~= cjson.null then return true end
  end
  return false
end

-- Extends the expiry to at least `min_ttl` ms from now.
local function extend_ttl(job, timeline, job_deliveries, min_ttl)
  for _, key in ipairs({ job, timeline, job_deliveries }) do
    local left = redis.call('PTTL', key)
    if left >= 0 and left < min_ttl then redis.call('PEXPIRE', key, min_ttl) end
  end
end

-- Redis's own clock, in ms. Expiries computed from one reading of it end together; each PEXPIRE of a script would
-- count from a slightly later instant.
local function redis_time_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function expire(keys, at)
  for _, key in ipairs(keys) do redis.call('PEXPIREAT', key, string.format('%.0f', at)) end
end

-- Sets the expiry of a finished job: `ttl` seconds, or the tenant's shorter `result_ttl` if nothing is left to do
-- (`is_pending` is false) and no delivery is pending; then at least `min_ttl` ms if a delivery was made or a follower still
-- needs the result (`followed`). Until then `expires_at` in the record has the tenant's time, which
-- `apply_tenant_ttl` applies later. Nothing shortens it to before `kept_until` (ms), up to which the outputs are kept.
-- The idempotency key always expires after `ttl`.
local function set_retention(job, timeline, job_deliveries, options)
  local tenant_ttl = tonumber(redis.call('HGET', NAMES.tenant .. options.tenant, 'result_ttl') or '')
  local left = options.ttl * 1000
  local started_at = redis_time_ms()
  if options.key then expire({ options.key }, started_at + left) end
  local kept_for = options.kept_until and options.kept_until - options.now or 0
  left = math.max(left, kept_for)
  if kept_for > 0 then redis.call('HDEL', job, 'expires_at') end
  if tenant_ttl and math.max(tenant_ttl, kept_for) < left then
    tenant_ttl = math.max(tenant_ttl, kept_for)
    if options.is_pending or has_pending_deliveries(job_deliveries) then
      redis.call('HSET', job, 'expires_at', string.format('%.0f', options.now + tenant_ttl))
    else
      local needed = options.followed or redis.call('EXISTS', job_deliveries) == 1
      left = needed and math.max(tenant_ttl, tonumber(options.min_ttl)) or tenant_ttl
    end
  end
  expire({ job, timeline, job_deliveries }, started_at + left)
end

-- Applies the tenant's `result_ttl` after the last delivery attempt, but at least `min_ttl` ms from now.
local function apply_tenant_ttl(job, timeline, job_deliveries, id, now, min_ttl)
  local at = tonumber(redis.call('HGET', job, 'expires_at') or '')
  if not at or redis.call('ZSCORE', NAMES.due, id)
    or redis.call('ZSCORE', NAMES.archives, id) or has_pending_deliveries(job_deliveries) then return end
  expire({ job, timeline, job_deliveries }, redis_time_ms() + math.max(at - now, min_ttl))
end
