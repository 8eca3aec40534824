-- Collects members of sorted sets as alternating scores and members, to write them with few commands: a batch has up
-- to a thousand jobs.
local function append_pair(flat, score, member) flat[#flat + 1] = score; flat[#flat + 1] = member end

-- Lua's stack bounds the number of arguments of one command.
local function zadd_all(key, flat)
  for first = 1, #flat, 2000 do
    redis.call('ZADD', key, unpack(flat, first, math.min(first + 1999, #flat)))
  end
end
