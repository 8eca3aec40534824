-- Returns which of the commands this login may not run on `key`, or on the channel. Nothing is run.
-- FLAGS: no-writes
-- KEYS: key
-- ARGV: ...

local forbidden = {}
for _, command in ipairs(ARGV) do
  -- Words that a command takes for further keys must be keys that the login may use too.
  local target = command == 'PUBLISH' and NAMES.changes or key
  local known, allowed = pcall(redis.acl_check_cmd, command, target, target, target)
  if known and not allowed then forbidden[#forbidden + 1] = command end
end
return forbidden
