-- Returns the days of a history that exist, each as { position of its key, total, name and text of each row of one
-- dimension ... }. `dimension` is '' for the totals alone.
-- FLAGS: no-writes
-- KEYS: ...
-- ARGV: dimension

local days, prefix = {}, dimension .. '|'
for at, key in ipairs(KEYS) do
  if dimension == '' then
    local total = redis.call('HGET', key, 'total')
    if total then days[#days + 1] = { at, total } end
  else
    local flat, day = redis.call('HGETALL', key), { at, '' }
    for field = 1, #flat, 2 do
      local name = flat[field]
      if name == 'total' then
        day[2] = flat[field + 1]
      elseif name == dimension or string.sub(name, 1, #prefix) == prefix then
        day[#day + 1], day[#day + 2] = name, flat[field + 1]
      end
    end
    if #flat > 0 then days[#days + 1] = day end
  end
end
return days
