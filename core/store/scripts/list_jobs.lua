-- A page of a tenant's jobs, newest first, out of one index. What the index does not tell, the texts
-- of `needles` do: each must stand in the record's document. Ranks hold for the length of one call.
-- Returns { 'ok', documents, id that was looked at last, its instant (ms) }; the id is '' at the end.
-- Protects: no call looks at more than `most` records, however few of them fit.
-- `place` '' is the beginning, else where among equal scores the page goes on: after `after_id`.
-- USES: names authenticate
-- KEYS: api_key tenant index tenant_jobs
-- ARGV: now tenant_name scope low high place after_id limit most ...

local FIXED_ARGUMENTS, BATCH = 9, 100

local function rank_after()
  local rank = redis.call('ZREVRANK', index, after_id)
  if rank then return rank + 1 end
  local low_rank = redis.call('ZCOUNT', index, '(' .. place, '+inf')
  local high_rank = low_rank + redis.call('ZCOUNT', index, place, place)
  while low_rank < high_rank do
    local middle = math.floor((low_rank + high_rank) / 2)
    if redis.call('ZREVRANGE', index, middle, middle)[1] > after_id then
      low_rank = middle + 1
    else
      high_rank = middle
    end
  end
  return low_rank
end

local function fits(doc)
  for position = FIXED_ARGUMENTS + 1, #ARGV do
    if not string.find(doc, ARGV[position], 1, true) then return false end
  end
  return true
end

if api_key ~= '' then
  local refusal = authenticate(api_key, tenant, tenant_name, scope, now)
  if refusal then return { refusal } end
end

local first = redis.call('ZCOUNT', index, '(' .. high, '+inf')
local last = first + redis.call('ZCOUNT', index, low, high) - 1
if place ~= '' then first = math.max(first, rank_after()) end
local rank, stop, found, seen = first, math.min(last, first + tonumber(most) - 1), {}, ''
limit = tonumber(limit)

while rank <= stop and #found < limit do
  for _, id in ipairs(redis.call('ZREVRANGE', index, rank, math.min(stop, rank + BATCH - 1))) do
    local doc = redis.call('HGET', NAMES.job .. id, 'doc')
    if doc and fits(doc) then found[#found + 1] = doc end
    rank, seen = rank + 1, id
    if #found == limit then break end
  end
end
if rank > last then return { 'ok', found, '', '' } end
return { 'ok', found, seen, redis.call('ZSCORE', tenant_jobs, seen) or '0' }
