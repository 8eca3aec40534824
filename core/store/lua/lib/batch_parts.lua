-- The items of a large batch are stored in parts before it is accepted, and become jobs part by part afterwards.
-- `rest` of its record has what is needed for the parts that are not written yet; `gw:unwritten_batches` lists the
-- batches with such a rest, by the time from which a worker writes it.

local function part_key(batch, number) return NAMES.batch .. batch .. ':part:' .. number end
local function rest_key(batch) return NAMES.batch .. batch .. ':rest' end

local function delete_parts(batch, count)
  for number = 1, count do redis.call('UNLINK', part_key(batch, number)) end
end

-- Removes the expiry of all parts. Returns whether all were there, with `item_count` items.
local function keep_parts(batch, part_sizes, item_count)
  local items = 0
  for number, size in ipairs(part_sizes) do
    if redis.call('PERSIST', part_key(batch, number)) == 0 then return false end
    items = items + tonumber(size)
  end
  return items == item_count
end

-- Slots that items will have once they are written, places in the waiting room, and bytes: counted from now on.
local function reserve_places(admission, items)
  local tenant, starts, bytes = admission.tenant, {}, 0
  for _, item in ipairs(items) do
    if item.is_admissible then
      bytes = bytes + item.bytes
      if item.starts_now then starts[item.model] = (starts[item.model] or 0) + 1 end
    end
  end
  planned = {}
  for model, number in pairs(starts) do take_slots(tenant, model, number) end
  if next(starts) then refresh_tenant(tenant) end
  if admission.queued then add_to_counter(NAMES.waiting_for, 'tenant:' .. tenant, admission.queued) end
  redis.call('HINCRBY', NAMES.stored_bytes .. tenant, '@total', bytes)
end

-- One line for each item of a part, '' for one that was refused.
local function reservation_line(item, amounts)
  if not item.is_admissible then return '' end
  local amount = item.amount
  amounts[amount] = amounts[amount] or string.format('%.0f', amount)
  return item.row .. (item.starts_now and '|1|0|' or item.paid and '|0|1|' or '|0|0|') .. amounts[amount] .. '|' .. item.bytes
    .. '|' .. item.cache_status .. '|' .. (item.source or '') .. '|' .. (item.leader_tenant or '') .. '|' .. (item.saved or '')
end

local function parse_reservation(line)
  local row, starts, waits, amount, bytes, cache_status, source, leader_tenant, saved = string.match(line,
    '^(%d+)|(%d)|(%d)|(%d+)|(%d+)|(%l+)|([^|]*)|([^|]*)|([^|]*)$')
  if not row then return nil end
  return {
    row = tonumber(row), starts = starts == '1', waits = tonumber(waits), amount = tonumber(amount), bytes = tonumber(bytes),
    cache_status = cache_status, source = source, leader_tenant = leader_tenant, saved = saved,
  }
end

local function write_rest(items, part_sizes, rest)
  local fields = {
    'tenant', rest.tenant, 'usage', rest.usage, 'usage_day', rest.usage_day, 'windows', rest.windows,
    'key_usage', rest.key_usage, 'parts', #part_sizes, 'written', 0,
  }
  local position, amounts = 0, {}
  for number, size in ipairs(part_sizes) do
    local lines = {}
    for at = 1, tonumber(size) do
      position = position + 1
      lines[at] = reservation_line(items[position], amounts)
    end
    append_pair(fields, 'part:' .. number, table.concat(lines, '\n'))
  end
  redis.call('HSET', rest_key(rest.batch), unpack(fields))
  redis.call('ZADD', NAMES.unwritten_batches, rest.write_at, rest.batch)
end
