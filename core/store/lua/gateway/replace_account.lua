-- Sets the account that pays for the store's jobs, if it is still `held` ('' for none). Returns 1, or 0 if it is not.
-- KEYS: store
-- ARGV: held account

if (redis.call('HGET', store, 'account') or '') ~= held then return 0 end
redis.call('HSET', store, 'account', account)
return 1
