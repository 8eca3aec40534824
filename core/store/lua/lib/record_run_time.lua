-- Records a run time (ms) of a model, keeps the last `max_run_times`, and counts it, so that readers see a new one.
local function record_run_time(model, run_time, max_run_times)
  redis.call('LPUSH', NAMES.runs .. model, run_time)
  redis.call('LTRIM', NAMES.runs .. model, 0, max_run_times - 1)
  redis.call('HINCRBY', NAMES.run_counts, model, 1)
end
