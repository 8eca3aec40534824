-- Keep how long a model's run took (ms), the last `kept` of them; the count tells readers of news.
local function remember_run(model, took, kept)
  redis.call('LPUSH', NAMES.runs .. model, took)
  redis.call('LTRIM', NAMES.runs .. model, 0, kept - 1)
  redis.call('HINCRBY', NAMES.run_counts, model, 1)
end
