-- Returns documents, expiries (ms) and numbers of users of a tenant's files, newest first, after the file `cursor` ('' for the first page).
-- FLAGS: no-writes
-- KEYS: tenant_files
-- ARGV: cursor limit

local found, from = {}, cursor == '' and '+' or '(' .. cursor
for _, id in ipairs(redis.call('ZRANGE', tenant_files, from, '-', 'BYLEX', 'REV', 'LIMIT', 0, limit)) do
  local stored = redis.call('HMGET', NAMES.file .. id, 'doc', 'expires_at')
  if stored[1] then
    stored[3] = redis.call('SCARD', NAMES.file .. id .. ':users')
    found[#found + 1] = stored
  end
end
return found
