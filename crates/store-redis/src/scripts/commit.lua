-- KEYS: the scaler's lease, then for each pool: intents, memory, decisions.
-- ARGV: epoch, expiry ms, expiry ms of decisions, how many decisions to keep, then for each pool:
-- count of intents to end, count to put, has memory, has decision, the fields to end, field and JSON
-- of each to put, memory, decision.
local now = clock()
local refused = fence(KEYS[1], ARGV[1], now)
if refused then
  return refused
end
local kinds = { 'hash', 'string', 'stream' }
for i = 2, #KEYS do
  if not is(KEYS[i], kinds[(i - 2) % 3 + 1]) then
    return corrupt(KEYS[i])
  end
end
local keep, keep_decisions, most_decisions = ARGV[2], ARGV[3], ARGV[4]
local at = 4
local function take()
  at = at + 1
  return ARGV[at]
end
for k = 2, #KEYS, 3 do
  local ends, puts = tonumber(take()), tonumber(take())
  local has_memory, has_decision = take() == '1', take() == '1'
  for _ = 1, ends do
    redis.call('HDEL', KEYS[k], take())
  end
  for _ = 1, puts do
    local field = take()
    redis.call('HSET', KEYS[k], field, '{"written_at_ms":' .. int(now) .. ',"intent":' .. take() .. '}')
  end
  redis.call('PEXPIRE', KEYS[k], keep)
  if has_memory then
    redis.call('SET', KEYS[k + 1], take(), 'PX', keep)
  else
    redis.call('PEXPIRE', KEYS[k + 1], keep)
  end
  if has_decision then
    redis.call('XADD', KEYS[k + 2], 'MAXLEN', '~', most_decisions, '*', 'decision', take())
    redis.call('PEXPIRE', KEYS[k + 2], keep_decisions)
  end
end
return 1
