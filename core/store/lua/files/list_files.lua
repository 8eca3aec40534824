-- Returns documents and expiries (ms) of a tenant's files, newest first, after the file `cursor` ('' for the first page).
-- KEYS: tenant_files
-- ARGV: cursor limit

local found, from = {}, cursor == '' and '+' or '(' .. cursor
for _, id in ipairs(redis.call('ZRANGE', tenant_files, from, '-', 'BYLEX', 'REV', 'LIMIT', 0, limit)) do
  local stored = redis.call('HMGET', NAMES.file .. id, 'doc', 'expires_at')
  if stored[1] then found[#found + 1] = stored end
end
return found
