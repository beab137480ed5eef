"""The Lua scripts of the Redis event log; Redis runs each one atomically.

All keys carry one hash tag, so that in a cluster one node holds them and a script may access them all. The last part of
a key may be any bytes, since no script parses it.
"""

# Appends the events that are not in the log yet and returns their places in the arguments. The stream entry and the id
# are written first, so an event with an id has its entry. Users' lists and counts are derived data: a key of the wrong
# type is deleted. Every call writes something, so that a WAITAOF after it waits for earlier events too.
APPEND = """
local prefix, now, ttl, per_user = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local stream = KEYS[1]

local function reset_and_call(command, key, ...)
    local reply = redis.pcall(command, key, ...)
    if type(reply) == 'table' and reply.err then
        redis.call('DEL', key)
        reply = redis.call(command, key, ...)
    end
    redis.call('EXPIRE', key, ttl)
    return reply
end

local function count(bucket, bundle, name, n)
    if n == 0 then return end
    local day = math.floor(bucket / 86400)
    reset_and_call('HINCRBY', prefix .. 'counts:' .. day, bucket .. ':' .. name .. ':' .. bundle, n)
    reset_and_call('ZADD', prefix .. 'days', day, day)
end

local function join(request, bucket, bundle, shown, clicks)
    local key = prefix .. 'answer:' .. request
    local held = reset_and_call('HMGET', key, 'bucket', 'bundle', 'shown', 'clicks')
    local was_shown, was_clicked = tonumber(held[3] or 0) or 0, tonumber(held[4] or 0) or 0
    if was_shown > 0 then bucket, bundle = held[1], held[2] end
    local all_shown, all_clicks = was_shown + shown, was_clicked + clicks
    reset_and_call('HSET', key, 'bucket', bucket, 'bundle', bundle, 'shown', all_shown, 'clicks', all_clicks)
    if all_shown == 0 then return end
    if was_shown == 0 then
        count(bucket, bundle, 'answers', 1)
        was_clicked = 0
    end
    count(bucket, bundle, 'shown', shown)
    count(bucket, bundle, 'clicked', all_clicks - was_clicked)
    if all_clicks > 0 and was_clicked == 0 then count(bucket, bundle, 'hits', 1) end
end

local state = prefix .. 'state'
local kind = redis.call('TYPE', state).ok
if kind ~= 'hash' and kind ~= 'none' then
    redis.call('DEL', state)
elseif not string.match(redis.call('HGET', state, 'appends') or '0', '^%d+$') then
    redis.call('HDEL', state, 'appends')
end
redis.call('HINCRBY', state, 'appends', 1)  -- the first write, which a Redis without memory refuses
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
local position = newest[1] and tonumber(string.match(newest[1][1], '^%d+')) or 0
local new = {}
for i = 5, #ARGV, 9 do
    local id_key = prefix .. 'id:' .. ARGV[i]
    if redis.call('EXISTS', id_key) == 0 then
        position = position + 1
        redis.call('XADD', stream, string.format('%.0f-0', position), 'event', ARGV[i + 1], 'at', now)
        redis.call('SET', id_key, '', 'EX', ttl)
        new[#new + 1] = (i - 5) / 9
        local bucket, bundle = ARGV[i + 4], ARGV[i + 5]
        if ARGV[i + 2] ~= '' then
            local list = prefix .. 'user:' .. ARGV[i + 2]
            reset_and_call('RPUSH', list, ARGV[i + 1])
            reset_and_call('LTRIM', list, -per_user, -1)
        end
        count(bucket, bundle, ARGV[i + 6], 1)
        if ARGV[i + 3] ~= '' then
            join(ARGV[i + 3], bucket, bundle, tonumber(ARGV[i + 7]), tonumber(ARGV[i + 8]))
        end
    end
end
return new
"""

# Removes exported events that are too old or too many, oldest first, and never the newest, which holds the position.
TIDY = """
local prefix, oldest, kept, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local stream = KEYS[1]

local function place(entry)
    return tonumber(string.match(entry[1], '^%d+'))
end

local function accepted_at(entry)
    for f = 1, #entry[2], 2 do
        if entry[2][f] == 'at' then return tonumber(entry[2][f + 1]) end
    end
end

redis.pcall('ZREMRANGEBYSCORE', prefix .. 'days', '-inf', '(' .. math.floor(oldest / 86400))
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', most)
if not first[1] then return 0 end
local last = place(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1])
local too_many = redis.call('XLEN', stream) - kept
local expired = 0
for i, entry in ipairs(first) do
    local at = accepted_at(entry)  -- none: another program added the entry
    if i <= too_many or (at and at < oldest) then expired = place(entry) end
end
local exported = tonumber(redis.call('HGET', prefix .. 'state', 'exported') or 0) or 0
local cut = math.min(exported, expired, last - 1)
return redis.call('XTRIM', stream, 'MINID', string.format('%.0f-0', cut + 1))
"""

# Moves the exported position forward, never backward and never beyond the newest event.
MARK_EXPORTED = """
local state = ARGV[1] .. 'state'
if redis.call('TYPE', state).ok ~= 'hash' then redis.call('DEL', state) end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = newest[1] and tonumber(string.match(newest[1][1], '^%d+')) or 0
local exported = tonumber(redis.call('HGET', state, 'exported') or 0) or 0
exported = math.max(exported, math.min(tonumber(ARGV[2]), last))
redis.call('HSET', state, 'exported', string.format('%.0f', exported))
return 0
"""

# The next entries from an id on: whether there may be more, then id and event of each. The event is empty where the
# entry has none of at most ARGV[3] bytes: other programs can add entries of any shape. After ARGV[4] bytes it stops.
READ = """
local longest, budget = tonumber(ARGV[3]), tonumber(ARGV[4])
local entries = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
local found = {}
for i, entry in ipairs(entries) do
    local event = ''
    for f = 1, #entry[2], 2 do
        if entry[2][f] == 'event' and #entry[2][f + 1] <= longest then event = entry[2][f + 1] end
    end
    found[i] = {entry[1], event}
    budget = budget - #event
    if budget < 0 then break end
end
return {(budget < 0 or #entries == tonumber(ARGV[2])) and 1 or 0, found}
"""

# The ids of the oldest and the newest entry, empty without entries, and how many there are.
ENDS = """
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return {oldest and oldest[1] or '', newest and newest[1] or '', redis.call('XLEN', KEYS[1])}
"""
