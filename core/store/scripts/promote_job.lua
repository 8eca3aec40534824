-- A follower whose leader ended without a result becomes a paid job of its own, and leads in its place.
-- Returns 'stored', 'stale', 'unknown', 'led' (another leads already: it follows that one now), or
-- 'over_budget' (its tenant's money does not cover it now; nothing was written).
-- Protects: of identical requests under way at most one is paid for; no budget is passed.
-- USES: names ring ledger dispatch quota tell unsent once index
-- KEYS: job timeline due states tenant day month
-- ARGV: expected id version doc entry now tenant_name model priority price limit_at
-- ARGV: message_template message_ttl ring_due_at status_before status listed_at

local held = redis.call('HMGET', job, 'version', 'once', 'leader', 'reserved')
if not held[1] then return 'unknown' end
if held[1] ~= expected then return 'stale' end
local once, before = held[2], current_leader(held[3])

local function rejoin(leader)
  redis.call('HSET', NAMES.job .. before, 'successor', leader)
  redis.call('ZUNIONSTORE', NAMES.followers .. leader, 2, NAMES.followers .. leader, NAMES.followers .. before)
  redis.call('DEL', NAMES.followers .. before)
  redis.call('ZADD', due, now, id)
  return 'led'
end

local leads = redis.call('HGET', once, 'leader')
if leads and leads ~= id then return rejoin(leads) end

local policy = read_policy(tenant)
local amount = tonumber(price) or tonumber(policy.unknown_price_counts or 0)
for kind, window in pairs({ day = day, month = month }) do
  local limit = tonumber(policy['usd_per_' .. kind] or '')
  if limit and read_window(window).usd + amount > limit then return 'over_budget' end
end

redis.call('HSET', job, 'version', version, 'doc', doc)
redis.call('HINCRBY', job, 'reserved', amount)
for _, window in ipairs({ day, month }) do
  redis.call('HINCRBY', window, 'reserved', amount)
  redis.call('HINCRBY', window, 'reserved|' .. model, amount)
end
redis.call('RPUSH', timeline, entry)
redis.call('HINCRBY', states, 'following', -1)
redis.call('HINCRBY', states, 'queued', 1)
note_unsent(id, '', 'queued', now)
if limit_at ~= '' then redis.call('ZADD', due, limit_at, id) end
succeed(once, before, id, tenant_name)
relist(tenant_name, id, listed_at, status_before, status)
tell(id, version, 'queued')

local bell = { now = now, due_at = ring_due_at, template = message_template, ttl = message_ttl }
learn(tenant, 'running', policy.running)
learn(tenant, 'weight', policy.weight)
learn_all(tenant_name, model)
if runs_at_once(tenant_name, model) then
  give_slot(tenant_name, model, id, bell)
else
  wait_in_lane(tenant_name, model, id, tonumber(priority))
  dispatch(2, bell)
end
return 'stored'
