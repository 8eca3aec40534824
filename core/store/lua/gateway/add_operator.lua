-- Stores an operator. Returns 1, or 0 if the name is taken or there are `max_operators`.
-- KEYS: operators operator
-- ARGV: name digest doc max_operators

if redis.call('EXISTS', operator) == 1 then return 0 end
if redis.call('SCARD', operators) >= tonumber(max_operators) then return 0 end
redis.call('HSET', operator, 'digest', digest, 'doc', doc)
redis.call('SADD', operators, name)
return 1
