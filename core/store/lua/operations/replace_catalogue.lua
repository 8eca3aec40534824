-- Puts a newly read catalogue in the place of the last one. Extra ARGV are ids and documents in turn.
-- KEYS: models meta
-- ARGV: synced_at categories ...

redis.call('DEL', models)
for position = FIXED_ARGUMENTS + 1, #ARGV, 2 do
  redis.call('HSET', models, ARGV[position], ARGV[position + 1])
end
redis.call('HSET', meta, 'synced_at', synced_at, 'categories', categories)
return 1
