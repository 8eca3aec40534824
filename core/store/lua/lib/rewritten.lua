-- Whether a record of the expected version is another one than the caller read. `stamp` is when the stored record
-- was made (microseconds), `expected` the same of the caller's: after Redis went back, other writers reach the same
-- versions again. A record without a stamp is as it was admitted, and no two admissions have one id.
local function is_rewritten(stamp, expected) return stamp and stamp ~= expected end
