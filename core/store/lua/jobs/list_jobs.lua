-- Returns a page of a tenant's jobs, newest first, from one index: { 'ok', docs, last id, its score }. The id is
-- '' on the last page. Further ARGV: texts that the doc of a matching job contains.
-- `model_part`: the fraction of the scores of jobs that may match; '' for any.
-- `cursor_score`: the score at which the page continues, after `after_id`; '' for the first page.
-- `scope`: '' for an operator, who needs no key.
-- Guarantees: a call reads at most `max_read` records and skips at most `max_skipped` entries, however few match.
-- USES: authenticate authenticate_call
-- FLAGS: allow-oom
-- KEYS: api_key tenant index tenant_jobs
-- ARGV: now tenant_name scope? address rate low high cursor_score after_id limit model_part max_read max_skipped ...

local BATCH = 200

local function rank_after()
  local rank = redis.call('ZREVRANK', index, after_id)
  if rank then return rank + 1 end
  local low_rank = redis.call('ZCOUNT', index, '(' .. cursor_score, '+inf')
  local high_rank = low_rank + redis.call('ZCOUNT', index, cursor_score, cursor_score)
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

local function matches_query(doc)
  for position = FIXED_ARGUMENTS + 1, #ARGV do
    if not string.find(doc, ARGV[position], 1, true) then return false end
  end
  return true
end

if scope ~= '' then
  local auth_error = authenticate_call(api_key, tenant, tenant_name, scope, now, address, rate)
  if auth_error then return { auth_error } end
end

local first = redis.call('ZCOUNT', index, '(' .. high, '+inf')
local last = first + redis.call('ZCOUNT', index, low, high) - 1
if cursor_score ~= '' then first = math.max(first, rank_after()) end
local rank, stop, read, found, last_id = first, math.min(last, first + tonumber(max_skipped) - 1), 0, {}, ''
limit, max_read, model_part = tonumber(limit), tonumber(max_read), tonumber(model_part)

while rank <= stop and #found < limit and read < max_read do
  local batch = redis.call('ZREVRANGE', index, rank, math.min(stop, rank + BATCH - 1), 'WITHSCORES')
  for position = 1, #batch, 2 do
    rank, last_id = rank + 1, batch[position]
    if not model_part or tonumber(batch[position + 1]) % 1 == model_part then
      local doc = redis.call('HGET', NAMES.job .. last_id, 'doc')
      if doc and matches_query(doc) then found[#found + 1] = doc end
      read = read + 1
      if #found == limit or read == max_read then break end
    end
  end
end
if rank > last then return { 'ok', found, '', '' } end
return { 'ok', found, last_id, redis.call('ZSCORE', tenant_jobs, last_id) or '0' }
