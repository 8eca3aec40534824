-- Keeps the index of jobs that RunComfy has not got, so that the oldest one is found at once. A job
-- whose submit surely did not leave keeps its age; one that comes back from doubt begins anew.
local UNSENT_STATES = { queued = true, submitting = true }

local function note_unsent(id, before, state, at)
  if UNSENT_STATES[state] then
    redis.call('ZADD', NAMES.unsent, 'NX', at, id)
  elseif UNSENT_STATES[before] then
    redis.call('ZREM', NAMES.unsent, id)
  end
end
