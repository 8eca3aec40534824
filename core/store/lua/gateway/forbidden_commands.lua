-- Returns which of the commands this login may not run on `key`. Nothing is run.
-- KEYS: key
-- ARGV: ...

local forbidden = {}
for _, command in ipairs(ARGV) do
  -- Words that a command takes for further keys must be keys that the login may use too.
  local known, allowed = pcall(redis.acl_check_cmd, command, key, key, key)
  if known and not allowed then forbidden[#forbidden + 1] = command end
end
return forbidden
