-- Returns the store's position: { id, epoch, claims, since when it must be compared (ms, or ''), account or '', last
-- claim, whether it still has the claim that the caller knows, its journal or '', since when that has
-- every claim (ms) or '', the entry noted last or '', an entry that the journal lacks or '',
-- until when its queued jobs may have been submitted without an entry (ms) or '', since when no record is missing
-- (ms) or '' }; {} if it has no identity.
-- `known_claim` was the last one when `known_claims` had been counted in `known_epoch`; '' for none. The numbers
-- alone do not show that the store went back: others may have claimed as many submits since.
-- FLAGS: no-writes
-- KEYS: store log
-- ARGV: known_epoch known_claims known_claim

local stored = redis.call('HMGET', store, 'id', 'epoch', 'claims', 'compare_since', 'account',
  'journal_id', 'journal_since', 'newest_entry', 'lost_entry', 'doubt_until', 'complete_since')
if not stored[1] then return {} end
local epoch, claims, has_known = stored[2] or '1', stored[3] or '0', 1
if known_claim ~= '' and epoch == known_epoch then
  local later = tonumber(claims) - tonumber(known_claims)
  local found = later >= 0 and redis.call('LINDEX', log, -1 - later)
  if found and found ~= known_claim then has_known = 0 end
end
local last_claim = redis.call('LINDEX', log, -1) or ''
return {
  stored[1], epoch, claims, stored[4] or '', stored[5] or '', last_claim, has_known,
  stored[6] or '', stored[7] or '', stored[8] or '', stored[9] or '', stored[10] or '', stored[11] or '',
}
