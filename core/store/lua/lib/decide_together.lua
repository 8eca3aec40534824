-- Decides about many items together, if the limits admit all of them: sums are compared, not each item. What is doubtful is left to lib/decide_items.lua, which decides item by item.

-- How many jobs can start now as far as this target is concerned.
local function free_slots(target)
  if is_paused(target) then return 0 end
  local cap = cap_of(target)
  return cap and math.max(cap - in_use(target), 0) or math.huge
end

-- Decides in their order which items start immediately.
local function plan_starts(tenant, items)
  local has_ready_models = redis.call('EXISTS', NAMES.queue_ready) == 1
  local all, own, by_model, queued = free_slots('all'), free_slots('tenant:' .. tenant), {}, 0
  for _, item in ipairs(items) do
    item.starts_now = false
    if item.paid then
      local model = item.model
      by_model[model] = by_model[model] or free_slots('model:' .. model)
      if item.held_until == '' and not has_ready_models and all > 0 and own > 0 and by_model[model] > 0 then
        item.starts_now, all, own, by_model[model] = true, all - 1, own - 1, by_model[model] - 1
      else
        queued = queued + 1
      end
    end
  end
  return queued
end

local function sum_items(admission, items, resolve)
  local amount, bytes, leaders = 0, 0, admission.batch_leaders
  for _, item in ipairs(items) do
    resolve(item, admission)
    item.paid = item.cache_status == 'miss' or item.cache_status == 'off'
    item.amount = item.paid and amount_of(admission.policy, item.price) or 0
    if item.cache_status == 'miss' then leaders[item.dedup_key] = item end
    amount, bytes = amount + item.amount, bytes + item.bytes
  end
  return { jobs = #items, amount = amount, bytes = bytes, queued = plan_starts(admission.tenant, items) }
end

local function are_classes_admissible(admission, classes)
  for _, class in ipairs(classes) do
    if check_permission(admission, class) or check_paid(admission, class, amount_of(admission.policy, class.price)) then
      return false
    end
  end
  return true
end

local function do_windows_fit(admission, sums)
  local policy, used = admission.policy, admission.used_windows
  for at, window in ipairs(WINDOWS) do
    local jobs, budget = policy[window.jobs or ''], admission.budgets[at]
    if jobs and used[at].jobs + sums.jobs > jobs or budget and used[at].usd + sums.amount > budget then return false end
  end
  if not admission.has_key_budget then return true end
  local key, key_used = admission.key, admission.key_windows
  return key_used[1].usd + sums.amount <= (key.usd_per_day or math.huge)
    and key_used[3].usd + sums.amount <= (key.usd_per_month or math.huge)
end

local function do_all_fit(admission, classes, sums)
  local policy = admission.policy
  if not has_rate_for(policy, admission.arrival, admission.instant, sums.jobs) then return false end
  if policy.stored_bytes and admission.stored + sums.bytes > policy.stored_bytes then return false end
  if policy.waiting and sums.queued > 0 and read_waiting(admission) + sums.queued > policy.waiting then return false end
  return not policy.storage_bytes and do_windows_fit(admission, sums) and are_classes_admissible(admission, classes)
end

local function count_together(admission, items, sums)
  local last = items[#items]
  if admission.policy.requests_per_minute then
    local interval = 60000 / admission.policy.requests_per_minute
    last.arrival_before = admission.arrival + (sums.jobs - 1) * interval
    admission.arrival, admission.uses_rate = last.arrival_before + interval, true
  else
    last.arrival_before = admission.arrival
  end
  for at, used in ipairs(admission.used_windows) do
    used.jobs, used.usd = used.jobs + sums.jobs, used.usd + sums.amount
    if admission.has_key_budget then admission.key_windows[at].usd = admission.key_windows[at].usd + sums.amount end
  end
  admission.stored, admission.queued = admission.stored + sums.bytes, sums.queued
  if admission.waiting then admission.waiting = admission.waiting + sums.queued end
  for _, item in ipairs(items) do
    item.is_admissible = true
    if item.starts_now then plan_start(admission.tenant, item.model, 1) end
  end
end

-- As `decide_items`, or nil if not all items are certain to fit; then nothing has changed.
local function decide_together(admission, items, classes, resolve)
  local sums = sum_items(admission, items, resolve)
  if not do_all_fit(admission, classes, sums) then
    admission.batch_leaders = {}
    return nil
  end
  count_together(admission, items, sums)
  return {}, items[#items], read_quota_rows(admission, items, items[#items], resolve)
end
