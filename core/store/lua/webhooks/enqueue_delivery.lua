-- Stores a callback's record over the version that was read (absent counts as 0), to be sent when due.
-- Returns 1, or 0 when somebody was first.
-- USES: enqueue_delivery
-- KEYS: delivery outbox waiting listed
-- ARGV: expected version id doc due created channel life forget

if (redis.call('HGET', delivery, 'version') or '0') ~= expected then return 0 end
post(outbox, delivery, waiting, listed, {
  id = id, version = version, doc = doc, due = due, created = created,
  channel = channel, life = life, forget = forget,
})
return 1
