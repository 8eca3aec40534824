-- Removes an operator. Returns 1, or 0 if there is none of this name.
-- KEYS: operators operator
-- ARGV: name

if redis.call('SREM', operators, name) == 0 then return 0 end
redis.call('DEL', operator)
return 1
