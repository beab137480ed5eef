"""The Lua scripts of the Redis item store; Redis runs each one atomically.

All keys carry one hash tag, so that in a cluster one node holds them: `order`, a sorted set of item ids by position,
`bodies`, a hash of the items that are not deleted, `types` and `state`. ARGV[1] is the prefix of the others' names.
"""

# One write, all or none: ARGV holds the number of types and each name and type, whether they replace known ones and at
# which position (empty: they do not), the number of changes, and for each the id, the position at which it is expected
# (empty: any) and its body (empty: deleted). Replies 0 and the last position, 1 and an id that was changed meanwhile
# (empty: any item), or 2 and the name and type of an attribute that has another type. Every call writes something, so
# that a WAITAOF after it waits for earlier writes too.
WRITE = """
local prefix, order = ARGV[1], KEYS[1]
local bodies, types, state = prefix .. 'bodies', prefix .. 'types', prefix .. 'state'
redis.call('HINCRBY', state, 'writes', 1)
local newest = redis.call('ZREVRANGE', order, 0, 0, 'WITHSCORES')
local position = tonumber(newest[2] or 0)

local n_types, at = tonumber(ARGV[2]), 3
local first_change = at + 2 * n_types
local retyped_at = ARGV[first_change]
if retyped_at ~= '' and tonumber(retyped_at) ~= position then return {1, ''} end
if retyped_at == '' then
    for i = at, first_change - 1, 2 do
        local known = redis.call('HGET', types, ARGV[i])
        if known and known ~= ARGV[i + 1] then return {2, ARGV[i], known} end
    end
end
for i = first_change + 1, #ARGV, 3 do
    if ARGV[i + 1] ~= '' then
        local found = tonumber(redis.call('ZSCORE', order, ARGV[i]) or 0)
        if found ~= tonumber(ARGV[i + 1]) then return {1, ARGV[i]} end
    end
end

for i = at, first_change - 1, 2 do redis.call('HSET', types, ARGV[i], ARGV[i + 1]) end
for i = first_change + 1, #ARGV, 3 do
    position = position + 1
    redis.call('ZADD', order, string.format('%.0f', position), ARGV[i])
    if ARGV[i + 2] == '' then
        redis.call('HDEL', bodies, ARGV[i])
    else
        redis.call('HSET', bodies, ARGV[i], ARGV[i + 2])
    end
end
return {0, string.format('%.0f', position)}
"""

# Of each id in ARGV from the second on: its position, empty where it was never stored, and its body.
ENTRIES = """
local found = {}
for i = 2, #ARGV do
    local position = redis.call('ZSCORE', KEYS[1], ARGV[i])
    found[i - 1] = {position or '', position and redis.call('HGET', ARGV[1] .. 'bodies', ARGV[i]) or false}
end
return found
"""

# The changes after position ARGV[2], at most ARGV[3]: id, position and body of each. After ARGV[4] bytes it stops.
CHANGES = """
local budget = tonumber(ARGV[4])
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local found = {}
for i = 1, #ids, 2 do
    local body = redis.call('HGET', ARGV[1] .. 'bodies', ids[i])
    found[#found + 1] = {ids[i], ids[i + 1], body}
    budget = budget - (body and #body or 0)
    if budget < 0 then break end
end
return found
"""
