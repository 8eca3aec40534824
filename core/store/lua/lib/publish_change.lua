-- Tell whoever listens that a job has a new version. Nobody may be listening: nothing is kept.
local function publish_change(id, version, state)
  redis.call('PUBLISH', NAMES.changes, id .. ' ' .. version .. ' ' .. state)
end
