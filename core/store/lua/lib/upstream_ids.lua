-- Which job has or had a request of RunComfy: the first one keeps it.

local function is_of_another_job(upstream_id, job_id)
  local holder = redis.call('GET', NAMES.upstream_id .. upstream_id)
  return holder and holder ~= job_id
end

local function remember_upstream_id(upstream_id, job_id, ttl_ms)
  redis.call('SET', NAMES.upstream_id .. upstream_id, job_id, 'NX', 'PX', ttl_ms)
end
