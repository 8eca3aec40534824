-- Writes the closing event's callbacks of a batch that has ended, unless somebody has done so.
-- Extra KEYS are record, channel and list of each delivery; extra ARGV are id, doc, due and created
-- instant, channel, life and oldest instant of each. Returns 1, or 0 when somebody was first.
-- Protects: a batch is told of once, whoever dies on the way.
-- USES: post
-- KEYS: batches outbox ...
-- ARGV: batch ...

local FIXED_KEYS, FIXED_ARGUMENTS = 2, 1

if redis.call('ZREM', batches, batch) == 0 then return 0 end
local position = FIXED_ARGUMENTS
for index = FIXED_KEYS + 1, #KEYS, 3 do
  post(outbox, KEYS[index], KEYS[index + 1], KEYS[index + 2], {
    id = ARGV[position + 1], version = 1, doc = ARGV[position + 2], due = ARGV[position + 3],
    created = ARGV[position + 4], channel = ARGV[position + 5], life = ARGV[position + 6],
    forget = ARGV[position + 7],
  })
  position = position + 7
end
return 1
