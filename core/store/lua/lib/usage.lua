-- Rows of usage: 64-bit integers, big-endian, in the order of core.billing.usage.UsageTotals, without zeros at the end. The windows of a
-- tenant's and of a key's budgets and the rows of a day's history have this one form, so that one difference is added
-- to all of them. They are sums over jobs: what is added is what a job counts as now, less what it counted as before,
-- so that a repeated step adds nothing. Sums are exact: all amounts are integers below 2^53.
-- GIVES: parse_reservations add_numbers subtract_numbers usage_of_job usage_of_reservation read_rows split_lines
-- GIVES: split_words add_to_windows add_to_history book_usage

local RELEASED, USAGE_NUMBERS = 4, 16
local MAX_ROWS = 200
local MAX_FIELDS = 1000

-- One call of C for a row: as texts, its numbers would take most of an admission's time.
-- Formats by their count of numbers, made when they are needed: each call of a script begins with none.
local NUMBER, BYTES = 'i8', 8
local FORMATS = setmetatable({}, { __index = function(formats, count)
  formats[count] = '>' .. string.rep(NUMBER, count)
  return formats[count]
end })
local NO_NUMBERS = string.rep('\0', RELEASED * BYTES)

-- Returns the first numbers of a row: jobs, reserved, settled and released.
local function parse_reservations(row) return struct.unpack(FORMATS[RELEASED], (row or '') .. NO_NUMBERS) end

-- A list of numbers may be shorter than `USAGE_NUMBERS`, as its row is: the others are zero. Those of open jobs are two.
-- `row` nil, false or '': no numbers. Those that a later release added stay as they are.
local function parse_usage(row)
  local count = math.min(#(row or '') / BYTES, USAGE_NUMBERS)
  local numbers = count > 0 and { struct.unpack(FORMATS[count], row) } or {}
  numbers[count + 1] = nil
  if row and #row > USAGE_NUMBERS * BYTES then numbers.later = string.sub(row, USAGE_NUMBERS * BYTES + 1) end
  return numbers
end

local function without_zeros(numbers)
  local last = #numbers
  while last > 1 and numbers[last] == 0 do numbers[last], last = nil, last - 1 end
  return numbers
end

local function format_usage(numbers)
  if not numbers.later then without_zeros(numbers) end
  return struct.pack(FORMATS[#numbers], unpack(numbers)) .. (numbers.later or '')
end

local function add_numbers(numbers, change)
  for at = 1, #change do numbers[at] = (numbers[at] or 0) + change[at] end
  return numbers
end

local function subtract_numbers(numbers, others)
  local difference = {}
  for at = 1, math.max(#numbers, #others) do difference[at] = (numbers[at] or 0) - (others[at] or 0) end
  return difference
end

local function is_zero(numbers)
  for _, number in ipairs(numbers) do if number ~= 0 then return false end end
  return true
end

-- What a job counts as; `facts` is the text of core.billing.usage.usage_facts, `amounts` are { reserved, settled,
-- released }.
local function usage_of_job(facts, amounts)
  local found = {}
  for fact in string.gmatch(facts, '%S+') do found[#found + 1] = tonumber(fact) end
  for at = #found + 1, 8 do found[at] = 0 end
  local completed, failed, cancelled, reused, saved, in_doubt, estimated, video = unpack(found, 1, 8)
  local reserved, settled, released = amounts[1], amounts[2], amounts[3]
  local charged = (failed == 1 or cancelled == 1) and settled > 0 and 1 or 0
  return without_zeros({
    1, reserved, settled, released, completed, failed, cancelled, reused, saved,
    in_doubt, in_doubt * (reserved - settled - released), estimated, estimated * settled, charged, charged * settled,
    video,
  })
end

local function usage_of_reservation(amount) return { 0, amount } end

local function read_rows(key, names)
  local rows = {}
  for first = 1, #names, MAX_FIELDS do
    local stored = redis.call('HMGET', key, unpack(names, first, math.min(first + MAX_FIELDS - 1, #names)))
    for at = 1, #stored do rows[names[first + at - 1]] = stored[at] or nil end
  end
  return rows
end

local function write_rows(key, texts)
  local fields = {}
  for name, text in pairs(texts) do
    fields[#fields + 1], fields[#fields + 2] = name, text
    if #fields >= MAX_FIELDS then
      redis.call('HSET', key, unpack(fields))
      fields = {}
    end
  end
  if #fields > 0 then redis.call('HSET', key, unpack(fields)) end
end

local function split_lines(text)
  local lines = {}
  for line in string.gmatch(text, '[^\n]+') do lines[#lines + 1] = line end
  return lines
end

local function split_words(text)
  local words = {}
  for word in string.gmatch(text, '%S+') do words[#words + 1] = word end
  return words
end

-- Adds to the rows that exist. A window or a day that is no longer kept is not created again: it would get no expiry.
local function add_to_rows(key, names, change)
  local texts = {}
  for name, text in pairs(read_rows(key, names)) do texts[name] = format_usage(add_numbers(parse_usage(text), change)) end
  write_rows(key, texts)
end

-- Deletes the windows that began before `oldest` (yyyymmdd) and that no top-up needs; `needed` has the first name of
-- each kind that one does.
local function delete_old_windows(key, oldest, needed)
  for _, name in ipairs(redis.call('HKEYS', key)) do
    local kind, day = string.sub(name, 1, 1), string.sub(name, 2)
    if day ~= '' and day < oldest and not (needed[kind] and name >= needed[kind]) then redis.call('HDEL', key, name) end
  end
end

-- Adds to the windows `names` of a budget; a new one is created, and outdated ones are deleted then, unless `oldest`
-- is nil: a restored job does not know which windows top-ups need. `stored`: the rows, if the script has read them.
local function add_to_windows(key, names, change, oldest, needed, stored)
  local texts, is_new = {}, false
  stored = stored or read_rows(key, names)
  for _, name in ipairs(names) do
    is_new = is_new or not stored[name]
    texts[name] = format_usage(add_numbers(parse_usage(stored[name]), change))
  end
  write_rows(key, texts)
  if is_new and oldest then delete_old_windows(key, oldest, needed or {}) end
  return is_new
end

-- The row in which a value counts that has none yet: a new one, or that of all others of its dimension.
local function place_row(key, name, sizes)
  local kind = string.match(name, '^(%l+)|')
  if not kind then return name end
  local size = '#' .. kind
  sizes[size] = sizes[size] or tonumber(redis.call('HGET', key, size) or 0)
  if sizes[size] >= MAX_ROWS then return kind end
  sizes[size] = sizes[size] + 1
  return name
end

-- Adds to the rows of a day, each with its own change. `place` gives the row of a value that has none.
local function add_to_day(key, names, changes, place)
  local stored, sums, texts = read_rows(key, names), {}, {}
  for _, name in ipairs(names) do
    local row = stored[name] and name or place(name)
    if row then
      sums[row] = sums[row] or parse_usage(stored[row] or row ~= name and redis.call('HGET', key, row))
      add_numbers(sums[row], changes[name])
    end
  end
  for row, numbers in pairs(sums) do texts[row] = format_usage(numbers) end
  write_rows(key, texts)
  return stored
end

-- Adds jobs to the history of their day; `names` are in the order in which they first counted. A day that is new is
-- listed under its tenant.
local function add_to_history(key, names, changes, day)
  local sizes = {}
  local stored = add_to_day(key, names, changes, function(name) return place_row(key, name, sizes) end)
  write_rows(key, sizes)
  if stored.total then return end
  redis.call('EXPIRE', key, day.ttl)
  redis.call('ZADD', NAMES.usage_tenants, 'GT', day.number, day.tenant)
  redis.call('ZREMRANGEBYSCORE', NAMES.usage_tenants, '-inf', '(' .. day.oldest)
  redis.call('EXPIRE', NAMES.usage_tenants, day.ttl)
end

-- Adds a change of one job to its tenant's windows, its key's, and the rows of its day. Rows are created by
-- admissions alone: a value that has none counts among the others.
local function book_usage(booking, change)
  if is_zero(change) then return end
  add_to_rows(booking.usage, booking.windows, change)
  if booking.key_usage then add_to_rows(booking.key_usage, booking.windows, change) end
  if redis.call('EXISTS', booking.day) == 0 then return end
  local changes = {}
  for _, name in ipairs(booking.rows) do changes[name] = change end
  add_to_day(booking.day, booking.rows, changes, function(name) return string.match(name, '^(%l+)|') end)
end
