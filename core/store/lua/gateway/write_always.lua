-- Executes one command although memory is full, and returns its answer: for small writes without which running jobs
-- do not end, or an operator cannot act.
-- FLAGS: allow-oom
-- KEYS: key
-- ARGV: command ...

return redis.call(command, key, unpack(ARGV, 2))
