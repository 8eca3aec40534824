-- The index of jobs that RunComfy does not have yet. A job whose submit certainly did not reach RunComfy keeps its
-- age; one that returns from doubt gets a new one.
local UNSUBMITTED_STATES = { queued = true, submitting = true }

local function update_unsubmitted(id, before, state, at)
  if UNSUBMITTED_STATES[state] then
    redis.call('ZADD', NAMES.unsubmitted, 'NX', at, id)
  elseif UNSUBMITTED_STATES[before] then
    redis.call('ZREM', NAMES.unsubmitted, id)
  end
end
