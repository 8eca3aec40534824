-- Keeps the index of jobs that RunComfy has not got, so that the oldest one is found at once. A job
-- whose submit surely did not leave keeps its age; one that comes back from doubt begins anew.
local UNSUBMITTED_STATES = { queued = true, submitting = true }

local function update_unsubmitted(id, before, state, at)
  if UNSUBMITTED_STATES[state] then
    redis.call('ZADD', NAMES.unsubmitted, 'NX', at, id)
  elseif UNSUBMITTED_STATES[before] then
    redis.call('ZREM', NAMES.unsubmitted, id)
  end
end
