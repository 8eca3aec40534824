-- Decides which items the limits admit, in their order, each on what those before it leave. `admission` is the state
-- of lib/open_admission.lua. Nothing is written.
-- GIVES: read_waiting check_permission check_paid read_quota_rows decide_items

-- Limits that count every item alike, paid for or not. When one is used up, no later item is admitted.
local COUNTS_ALL = { ['requests-per-minute'] = true, ['jobs-per-day'] = true, ['jobs-per-month'] = true }

-- The tenant's jobs without a slot, items that were admitted before included.
local function read_waiting(admission)
  local tenant = admission.tenant
  admission.waiting = admission.waiting or (tonumber(redis.call('HGET', NAMES.waiting, tenant)) or 0)
    + (tonumber(redis.call('HGET', NAMES.waiting_for, 'tenant:' .. tenant)) or 0)
  return admission.waiting
end

local function check_waiting(admission, item, rows)
  local policy, tenant = admission.policy, admission.tenant
  item.starts_now = item.paid and item.held_until == '' and can_start_now(tenant, item.model)
  if policy.running and rows then
    local left = policy.running - in_use('tenant:' .. tenant) - (item.starts_now and 1 or 0)
    add_row(rows, 'running', policy.running, math.max(left, 0), 0)
  end
  if not policy.waiting then return nil end
  local queued = item.paid and not item.starts_now
  local left = policy.waiting - read_waiting(admission) - (queued and 1 or 0)
  add_row(rows, 'waiting', policy.waiting, math.max(left, 0), 0)
  if left < 0 and queued then return reject('waiting', 5000) end
  return nil
end

-- Checks whether the tenant and its key may submit such a request at all.
local function check_permission(admission, item)
  local policy, key = admission.policy, admission.key
  if policy.models and not is_model_allowed(policy.models, item.model) then return reject('models') end
  if key.models and not matches_any_pattern(key.models, item.model) then return reject('key-models') end
  if tonumber(item.priority) < (policy.priority or 0) then return reject('priority') end
  return nil
end

-- Checks what the price of this request alone decides, if it is paid for.
local function check_paid(admission, item, amount, rows)
  admission.account = admission.account or read_account(NAMES.account_balance)
  return check_price(admission.policy, admission.account, item.price, amount, admission.has_key_budget, rows)
    or check_balance(admission.account, item.price, admission.instant)
end

local function check_limits(admission, item, rows)
  local policy, resets = admission.policy, admission.resets
  item.paid = item.cache_status == 'miss' or item.cache_status == 'off'
  item.amount = item.paid and amount_of(policy, item.price) or 0
  item.bytes = item.bytes or #(item.output or item.input)
  local counted_amount, new_arrival = item.paid and item.amount or nil, nil
  local rejection = check_permission(admission, item) or item.paid and check_paid(admission, item, item.amount, rows) or nil
  if not rejection then rejection, new_arrival = check_rate(policy, admission.arrival, admission.instant, rows) end
  rejection = rejection
    or check_windows(policy, admission.budgets, admission.used_windows, counted_amount, resets, rows)
    or admission.has_key_budget and check_key_windows(admission.key, admission.key_windows, counted_amount, resets, rows)
    or check_stored_bytes(policy, admission.stored, item.bytes, rows)
    or check_storage_bytes(policy, item, admission.tenant, rows)
    or check_waiting(admission, item, rows)
  item.new_arrival = new_arrival
  return rejection or nil
end

-- `by` is 1, or -1 to count the item no more.
local function count_admissible(admission, item, by)
  for at, used in ipairs(admission.used_windows) do
    used.jobs, used.usd = used.jobs + by, used.usd + by * item.amount
    if admission.has_key_budget then
      admission.key_windows[at].usd = admission.key_windows[at].usd + by * item.amount
    end
  end
  admission.stored = admission.stored + by * item.bytes
  if item.starts_now then
    plan_start(admission.tenant, item.model, by)
  elseif item.paid and admission.waiting then
    admission.waiting = admission.waiting + by
  end
end

local function admit_item(admission, item)
  item.is_admissible, item.arrival_before, admission.admitted = true, admission.arrival, admission.admitted + 1
  if item.new_arrival then admission.arrival, admission.uses_rate = item.new_arrival, true end
  count_admissible(admission, item, 1)
  if item.cache_status == 'miss' then admission.batch_leaders[item.dedup_key] = item end
  if item.paid and not item.starts_now then admission.queued = (admission.queued or 0) + 1 end
end

-- Remembers a limit that refuses every later item too. Of a later item, the day's or the week's money could be what
-- refuses it before the month's count does.
local function note_used_up(admission, rejection)
  local has_earlier = rejection[1] == 'jobs-per-month' and (admission.budgets[1] or admission.budgets[2])
  if COUNTS_ALL[rejection[1]] and not has_earlier then admission.used_up = rejection end
end

-- Whether a limit that is used up refuses the item, whatever a look-up of its cached result would find: it passes the
-- checks that come before this limit.
local function is_refused_alike(admission, item)
  return admission.used_up and not check_permission(admission, item)
    and not check_paid(admission, item, amount_of(admission.policy, item.price))
end

-- What refused an item refuses the next one that is as this one (`alike`), unless one was admitted between. It refuses
-- the next one of its class too, if that is paid for alike, unless it counts what an item has of its own: its bytes,
-- and whether it starts. (A script has 200 local variables at most: hence no table, and no function more.)
local function remember_rejection(admission, item, rejection)
  if item.alike then item.alike.rejection, item.alike.rejected_after = rejection, admission.admitted end
  local limit = rejection[1]
  if item.class and limit ~= 'stored-bytes' and limit ~= 'storage-bytes' and limit ~= 'waiting' then
    admission.refused[item.class .. tostring(item.paid)] = { rejection, admission.admitted }
  end
end

-- Returns the rejection of an item, or nil. `resolve` finds its cache status.
local function decide_item(admission, item, resolve, rows)
  if is_refused_alike(admission, item) then return admission.used_up end
  local alike = item.alike
  if alike and alike.rejection and alike.rejected_after == admission.admitted then return alike.rejection end
  resolve(item, admission)
  item.paid = item.cache_status == 'miss' or item.cache_status == 'off'
  local known = not rows and item.class and admission.refused[item.class .. tostring(item.paid)]
  if known and known[2] == admission.admitted then return known[1] end
  local rejection = check_limits(admission, item, rows)
  if not rejection then
    admit_item(admission, item)
    return nil
  end
  note_used_up(admission, rejection)
  remember_rejection(admission, item, rejection)
  return rejection
end

-- Returns the quota rows of a batch: after its last admissible item, or those that refuse its last one.
local function read_quota_rows(admission, items, last_admissible, resolve)
  local rows, item = {}, last_admissible or items[#items]
  if not last_admissible then
    resolve(item, admission)
    check_limits(admission, item, rows)
    return rows
  end
  local after = admission.arrival
  count_admissible(admission, item, -1)
  admission.arrival = item.arrival_before
  check_limits(admission, item, rows)
  admission.arrival = after
  count_admissible(admission, item, 1)
  return rows
end

-- Returns the rejection of each item, by its position, the last admissible item (nil if there is none), and the flat
-- rows of quotas.
local function decide_items(admission, items, resolve)
  local rejections, last_admissible, rows = {}, nil, #items == 1 and {} or nil
  for position, item in ipairs(items) do
    local rejection = decide_item(admission, item, resolve, rows)
    rejections[position] = rejection
    if not rejection then last_admissible = item end
  end
  return rejections, last_admissible, rows or read_quota_rows(admission, items, last_admissible, resolve)
end
