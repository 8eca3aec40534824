-- Decides whether an item is paid for, follows a leader, or is a cache hit.

-- Whether the item may follow `leader`: a request is not put off by another one that is held longer.
local function can_join(leader, item, instant)
  return leader and math.max(tonumber(item.held_until) or 0, instant) >= (tonumber(leader.held_until) or 0)
end

-- `batch_leaders`: the leading items of the same batch, by what identifies identical requests.
local function join_within_batch(item, identity, batch_leaders, tenant_name, instant)
  local leader = batch_leaders[identity]
  if not can_join(leader, item, instant) then return false end
  item.cache_status, item.source, item.leader_tenant = 'joined', leader.id, tenant_name
  return true
end

-- `admission` has the tenant's `policy` and name, the `instant`, and what was looked up before.
local function resolve_cache_status(item, admission)
  local policy, instant = admission.policy, admission.instant
  local mode = item.requested_mode ~= '' and item.requested_mode or policy.cache or item.default_mode
  item.cache_status = 'off'
  if mode == 'off' then return end
  local dedup_key = dedup_key_of(policy, admission.tenant, item.fingerprint)
  local found = admission.dedup_entries[dedup_key] or read_dedup_entry(dedup_key, instant)
  item.dedup_key, item.lifetime, item.cache_status = dedup_key, policy.cache_ms or item.lifetime, 'miss'
  admission.dedup_entries[dedup_key], item.expires = found, found.expires
  if found.output and mode == 'use' then
    item.cache_status, item.source, item.output, item.saved = 'hit', found.source, found.output, found.cost
  elseif join_within_batch(item, dedup_key, admission.batch_leaders, admission.tenant, instant) then
    return
  elseif found.leader and can_join(found, item, instant) then
    item.cache_status, item.source, item.leader_tenant = 'joined', found.leader, found.leader_tenant
  end
end
