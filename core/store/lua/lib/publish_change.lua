-- Tell whoever listens that a job has a new version. Nobody may be listening: nothing is kept.
local function tell(id, version, state)
  redis.call('PUBLISH', NAMES.changes, id .. ' ' .. version .. ' ' .. state)
end
