-- Takes a job in: the key is looked up, the record, its indexes and the ring are written, or nothing is.
-- Returns 'admitted', or the refusal's word. Protects: 202 means that Redis has the job.
-- USES: authenticate ring
-- KEYS: api_key tenant job timeline due states tenant_jobs message bell
-- ARGV: now tenant_name scope id version doc input state created due_at entry
-- ARGV: message_name message_body message_ttl

local refusal = authenticate(api_key, tenant, tenant_name, scope, now)
if refusal then return refusal end

redis.call('HSET', job, 'version', version, 'doc', doc, 'input', input)
redis.call('RPUSH', timeline, entry)
redis.call('ZADD', due, due_at, id)
redis.call('HINCRBY', states, state, 1)
redis.call('ZADD', tenant_jobs, created, id)
ring(message, bell, message_name, message_body, message_ttl, now)
return 'admitted'
