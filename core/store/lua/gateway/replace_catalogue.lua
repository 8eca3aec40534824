-- Replaces the model catalogue. Further ARGV: model ids and documents, alternating.
-- KEYS: models meta
-- ARGV: synced_at categories ...

redis.call('DEL', models)
for position = FIXED_ARGUMENTS + 1, #ARGV, 2 do
  redis.call('HSET', models, ARGV[position], ARGV[position + 1])
end
redis.call('HSET', meta, 'synced_at', synced_at, 'categories', categories)
return 1
