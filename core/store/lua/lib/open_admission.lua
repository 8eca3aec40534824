-- What comes before the decision about items: the API key, a repeated idempotency key, the tenant's limits and what is
-- used of them.

-- `call` has the arguments of the script. Returns the answer that ends the call, or nil and the tenant's limits, the
-- API key's and its scopes.
local function check_caller(call)
  local policy = read_policy(call.tenant_key)
  local is_dry_run = call.dry_run == '1'
  local auth_error, scopes, key = authenticate(call.api_key, policy.disabled, call.tenant, call.scope, call.now, call.address)
  local is_other_calendar = (policy.calendar or '') ~= call.calendar
  -- Before it is counted: the caller sends it again with the right calendar.
  if is_dry_run and is_other_calendar and not auth_error then return { { 'other_calendar', policy.calendar or '' } } end
  auth_error = auth_error or is_dry_run and take_call(call.tenant, 'calls-per-minute', policy.calls_per_minute, call.now)
  if auth_error then return { { auth_error } } end
  if call.has_idempotency_key == '1' then
    -- A dry run was counted above.
    local calls = not is_dry_run and policy.calls_per_minute or nil
    local replayed = find_replay(call.idempotency, call.idempotency_fingerprint, scopes, call.tenant, calls, call.now)
    if replayed then return { replayed } end
  elseif policy.idempotency_required then
    return { { 'key_missing' } }
  end
  if is_other_calendar then return { { 'other_calendar', policy.calendar or '' } } end
  return nil, policy, key, scopes
end

-- Returns the state of an admission, which each admissible item changes.
local function open_admission(call, policy, key)
  local instant = tonumber(call.now)
  local names, resets = split_words(call.windows), split_words(call.resets)
  for at, left in ipairs(resets) do resets[at] = tonumber(left) end
  local budgets, needed_windows = read_budgets(policy, call.usage, names, instant)
  local has_key_budget = key.usd_per_day or key.usd_per_month
  local used_windows, window_rows = read_windows(call.usage, names)
  return {
    tenant = call.tenant, policy = policy, key = key, instant = instant, arrival = read_arrival(policy, call.rate, instant),
    uses_rate = false, window_names = names, resets = resets, used_windows = used_windows,
    window_rows = window_rows, budgets = budgets, needed_windows = needed_windows, has_key_budget = has_key_budget,
    key_windows = has_key_budget and read_windows(call.key_usage, names),
    stored = policy.stored_bytes and read_stored_bytes(call.tenant) or 0,
    waiting = nil, account = nil, used_up = nil, admitted = 0, dedup_entries = {}, batch_leaders = {},
    refused = {},
  }
end
