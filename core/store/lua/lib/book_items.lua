-- Books the rate and the usage of admitted items: reservations, windows and the history of their day. Items are summed
-- by their rows and amounts first, so that a thousand equal ones cost as much as one.

-- What an item counts as beside its amount: one that is served from the cache has ended, for nothing.
local function facts_of(cache_status, saved)
  return cache_status == 'hit' and '1 0 0 1 ' .. (tonumber(saved) and saved or '0') or ''
end

local function usage_of_item(item) return usage_of_job(facts_of(item.cache_status, item.saved), { item.amount, 0, 0 }) end

local function multiply(numbers, times)
  for at = 1, #numbers do numbers[at] = numbers[at] * times end
  return numbers
end

-- Returns groups of equal items in the order of their first ones, with what they count as together. Items of one
-- `class` have the same rows and price.
local function sum_usage(items)
  local groups, by_name = {}, {}
  for _, item in ipairs(items) do
    if item.is_admissible then
      local name = (item.class or item.rows .. '\n' .. item.amount) .. ' ' .. facts_of(item.cache_status, item.saved)
        .. (item.paid and '' or 'unpaid')
      local group = by_name[name]
      if not group then
        group = { item = item, count = 0 }
        by_name[name], groups[#groups + 1] = group, group
      end
      group.count = group.count + 1
    end
  end
  for _, group in ipairs(groups) do group.usage = multiply(usage_of_item(group.item), group.count) end
  return groups
end

-- `call` has the keys and the retention of the script's arguments.
local function book_items(admission, items, call)
  if admission.uses_rate then
    redis.call('SET', call.rate, string.format('%.3f', admission.arrival), 'PX',
      math.ceil(admission.arrival - admission.instant) + 1000)
  end
  local all, history, names = {}, {}, {}
  for _, group in ipairs(sum_usage(items)) do
    add_numbers(all, group.usage)
    for _, row in ipairs(split_lines(group.item.rows)) do
      if not history[row] then history[row], names[#names + 1] = {}, row end
      add_numbers(history[row], group.usage)
    end
  end
  add_to_windows(call.usage, admission.window_names, all, call.oldest_window, admission.needed_windows,
    admission.window_rows)
  if admission.has_key_budget and add_to_windows(call.key_usage, admission.window_names, all, call.oldest_window) then
    redis.call('EXPIRE', call.key_usage, call.history_ttl)
  end
  add_to_history(call.usage_day, names, history,
    { ttl = call.history_ttl, number = call.history_day, oldest = call.oldest_history_day, tenant = admission.tenant })
end
