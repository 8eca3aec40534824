-- wrk's script: one kind of request, `@n@` in its body and headers made new each time; figures as
-- one line of JSON. Arguments: method, path, file of the body, this run's number, "name: value" ...

local numbered, first, count, head, text, method, path, fixed

function init(args)
  method, path = args[1], args[2]
  local file = io.open(args[3], 'rb')
  text = file:read('*a')
  file:close()
  first, count = args[4], 0
  -- wrk has set it; without it the service refuses the request.
  head = { Host = wrk.headers['Host'] }
  for position = 5, #args do
    local name, value = args[position]:match('^([^:]+): (.*)$')
    head[name] = value
    numbered = numbered or value:find('@n@', 1, true)
  end
  numbered = numbered or text:find('@n@', 1, true)
  wrk.headers = head
  fixed = wrk.format(method, path, head, #text > 0 and text or nil)
end

function request()
  if not numbered then return fixed end
  count = count + 1
  -- A large number would be written with an exponent, and be the same again and again.
  local number = first .. '-' .. count
  local own = {}
  for name, value in pairs(head) do own[name] = value:gsub('@n@', number) end
  local body = text:gsub('@n@', number)
  return wrk.format(method, path, own, #body > 0 and body or nil)
end

function done(summary, latency, requests)
  local wrong = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3,
    wrong.connect + wrong.read + wrong.write + wrong.status + wrong.timeout))
end
