-- Publishes that a job has a new version. Redis does not store the message.
local function publish_change(id, version, state)
  redis.call('PUBLISH', NAMES.changes, id .. ' ' .. version .. ' ' .. state)
end
