-- A repeated idempotency key: returns nil if it is new, { 'key_reused' }, or { 'replayed', id, doc, output } of its job.
-- It is a call that is no submit: { 'limited ...' } (lib/authenticate_call.lua) beyond `calls_per_minute`.
-- `doc` is '' for a batch, or a job that was deleted; `output` for an API key without the scope `read`.
local function find_replay(idempotency, fingerprint, scopes, tenant_name, calls_per_minute, now)
  local stored_admission = redis.call('GET', idempotency)
  if not stored_admission then return nil end
  local limited = take_call(tenant_name, 'calls-per-minute', calls_per_minute, now)
  if limited then return { limited } end
  local stored_fingerprint, id = string.match(stored_admission, '^(%S+) (%S+)$')
  if stored_fingerprint ~= fingerprint then return { 'key_reused' } end
  local stored = redis.call('HMGET', NAMES.job .. id, 'doc', 'output')
  local output = stored[2] and string.find(scopes, 'read', 1, true) and stored[2] or ''
  return { 'replayed', id, stored[1] or '', output }
end
