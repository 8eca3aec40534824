-- Stores some items of a batch that is not accepted yet, and finds their cache status. Nothing else is written: no job,
-- no reservation. The stored items expire unless `accept_batch` accepts the batch.
--
-- Returns the answers of lib/open_admission.lua that end the call, or { { 'hopeless' } } if `size` items cannot be
-- admitted together (the batch is all or nothing; nothing was stored), or for each item
-- { cache status, bytes to store, source, leader's tenant, saved }.
-- USES: admission_item authenticate authenticate_call replay usage quota dedup_index open_admission cache_status
-- KEYS: api_key tenant rate usage idempotency part
-- ARGV: now tenant_name scope address has_idempotency_key idempotency_fingerprint
-- ARGV: calendar windows all_or_nothing size part_ttl ...

local answer, policy = check_caller({
  api_key = api_key, tenant_key = tenant, tenant = tenant_name, scope = scope, address = address, now = now,
  has_idempotency_key = has_idempotency_key, idempotency = idempotency,
  idempotency_fingerprint = idempotency_fingerprint, calendar = calendar,
})
if answer then return answer end

-- Whether what counts every item alike refuses some of them, whatever they are.
local function is_hopeless()
  local number, instant = tonumber(size), tonumber(now)
  if not has_rate_for(policy, read_arrival(policy, rate, instant), instant, number) then return true end
  for at, window in ipairs(read_windows(usage, split_words(windows))) do
    local limit = policy[WINDOWS[at].jobs or '']
    if limit and window.jobs + number > limit then return true end
  end
  return false
end
if all_or_nothing == '1' and is_hopeless() then return { { 'hopeless' } } end

local found, admission = {}, {
  tenant = tenant_name, policy = policy, instant = tonumber(now), dedup_entries = {}, batch_leaders = {},
}
for position, item in ipairs(read_items(ARGV, FIXED_ARGUMENTS)) do
  resolve_cache_status(item, admission)
  found[position] = {
    item.cache_status, #(item.output or item.input), item.source or '', item.leader_tenant or '', item.saved or '',
  }
end
redis.call('DEL', part)
redis.call('RPUSH', part, unpack(ARGV, FIXED_ARGUMENTS + 1))
redis.call('PEXPIRE', part, part_ttl)
return found
