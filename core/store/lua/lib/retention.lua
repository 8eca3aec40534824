-- How long what is known of a job is kept, as its tenant wishes: the input not longer than it may have
-- to be sent, the whole not longer than `result_ttl` (ms), once nobody has to be told of it any more.
local SENDABLE = { queued = true, submitting = true, in_doubt = true, following = true }

local function forget_input(tenant, job, state)
  if SENDABLE[state] then return end
  if redis.call('HGET', NAMES.tenant .. tenant, 'keep_inputs') == '0' then redis.call('HDEL', job, 'input') end
end

-- Whether a callback about the job is still to be tried.
local function is_awaited(job_deliveries)
  for _, id in ipairs(redis.call('LRANGE', job_deliveries, 0, -1)) do
    local doc = redis.call('HGET', NAMES.delivery .. id, 'doc')
    if doc and cjson.decode(doc).due_at ~= cjson.null then return true end
  end
  return false
end

-- No less than `least` ms from now, whatever was said before.
local function live_on(job, timeline, job_deliveries, least)
  for _, key in ipairs({ job, timeline, job_deliveries }) do
    local left = redis.call('PTTL', key)
    if left >= 0 and left < least then redis.call('PEXPIRE', key, least) end
  end
end

-- Redis's own clock, in ms: spans that are counted from one reading of it end together, while each
-- PEXPIRE of a script counts from an instant of its own.
local function wall()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function expire(keys, at)
  for _, key in ipairs(keys) do redis.call('PEXPIREAT', key, string.format('%.0f', at)) end
end

-- Sets when a job that has ended goes. `own` is for a job that nobody must look at again (`due_at` is
-- '') or be told of, and no less than `least` ms where somebody was told or is still to take the result
-- over (`followed`); until then it stands in the
-- record by its instant, and the job is kept for `ttl` seconds, as its idempotency `key` is.
local function keep(job, timeline, job_deliveries, span)
  local own, left = tonumber(redis.call('HGET', NAMES.tenant .. span.tenant, 'result_ttl') or ''), span.ttl * 1000
  local began = wall()
  if span.key then expire({ span.key }, began + left) end
  if own and own < left then
    if span.due_at ~= '' or is_awaited(job_deliveries) then
      redis.call('HSET', job, 'until', string.format('%.0f', span.now + own))
    else
      local needed = span.followed or redis.call('EXISTS', job_deliveries) == 1
      left = needed and math.max(own, tonumber(span.least)) or own
    end
  end
  expire({ job, timeline, job_deliveries }, began + left)
end

-- The last callback about a job has been tried: its tenant's own time holds now, but no less than
-- `least` ms from now.
local function release(job, timeline, job_deliveries, id, now, least)
  local at = tonumber(redis.call('HGET', job, 'until') or '')
  if not at or redis.call('ZSCORE', NAMES.due, id) or is_awaited(job_deliveries) then return end
  expire({ job, timeline, job_deliveries }, wall() + math.max(at - now, least))
end
