-- Moves the store's position: `claim` names a claim of a submit, or a restored job.
local function count_claim(claim)
  redis.call('HINCRBY', NAMES.store, 'claims', 1)
  redis.call('RPUSH', NAMES.store_claims, claim)
  redis.call('LTRIM', NAMES.store_claims, -1000, -1)
end
