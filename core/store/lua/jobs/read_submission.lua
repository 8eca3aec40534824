-- Returns what a job's submit needs: { input, reserved, keep_inputs of the tenant, key and value of the
-- idempotency key that admitted it or its batch }; {} if the input is no longer kept.
-- FLAGS: no-writes
-- KEYS: job tenant

local stored = redis.call('HMGET', job, 'input', 'reserved', 'idempotency', 'batch')
if not stored[1] then return {} end
local of_batch = stored[4] and redis.call('HGET', NAMES.batch .. stored[4], 'idempotency')
local keeps, key = redis.call('HGET', tenant, 'keep_inputs'), stored[3] or of_batch or ''
return { stored[1], stored[2] or '0', keeps or '', key, key ~= '' and redis.call('GET', key) or '' }
