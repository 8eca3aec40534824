-- Returns the store's position: { id, epoch, claims, time of the last claim, time since when it is known to have
-- gone back, last claim, whether it still has the claim that the caller knows }; {} if it has no identity.
-- `known_claim` was the last one when `known_claims` had been counted in `known_epoch`; '' for none. The numbers
-- alone do not show that the store went back: others may have claimed as many submits since.
-- KEYS: store log
-- ARGV: known_epoch known_claims known_claim

local stored = redis.call('HMGET', store, 'id', 'epoch', 'claims', 'claimed_at', 'went_back_at')
if not stored[1] then return {} end
local has_known = 1
if known_claim ~= '' and stored[2] == known_epoch then
  local later = tonumber(stored[3] or '0') - tonumber(known_claims)
  local found = later >= 0 and redis.call('LINDEX', log, -1 - later)
  if found and found ~= known_claim then has_known = 0 end
end
local last = redis.call('LINDEX', log, -1)
return { stored[1], stored[2] or '1', stored[3] or '0', stored[4] or '', stored[5] or '', last or '', has_known }
