-- Members of sorted sets, collected as score and member in turns and written with few commands: a
-- batch has a thousand jobs, and each command of a script costs as much as one of a caller.
local function append_pair(flat, score, member) flat[#flat + 1] = score; flat[#flat + 1] = member end

-- At most so many arguments at once: Lua's stack is bounded.
local function zadd_all(key, flat)
  for first = 1, #flat, 2000 do
    redis.call('ZADD', key, unpack(flat, first, math.min(first + 1999, #flat)))
  end
end
