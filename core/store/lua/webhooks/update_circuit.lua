-- Stores the breaker over a channel over the version that was read. Returns 1 or 0.
-- USES: delivery_queue
-- KEYS: outbox waiting busy state
-- ARGV: expected version doc until_at at_once life channel now channel_at_once

if not move(state, expected, version, doc, until_at, at_once, life) then return 0 end
place(outbox, channel, waiting, busy, state, now, channel_at_once)
return 1
