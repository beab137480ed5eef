"""The part of the Redis event log's APPEND script that counts by arm and user, as arms.py says."""

from service.events.arms import MOMENTS

# `change_user` reads a user's row once a script; `write_arms` writes what changed, with the sums of each arm. The row
# of a user, by digest, has what they were shown, clicks, conversions, and thousandths paid; none: not exposed.
ARMS = f"""
local arm_names = {{{", ".join(f"'{name}'" for name in MOMENTS)}}}
local most_paid = 1e15
local arms = {{}}

local function read_row(label, person)
    local held = redis.pcall('HGET', prefix .. 'arm:' .. label, person)
    if type(held) ~= 'string' then return nil end
    local shown, clicks, conversions, paid = string.match(held, '^(%-?%d+) (%-?%d+) (%d+) (%-?%d+)$')
    return shown and {{tonumber(shown), tonumber(clicks), tonumber(conversions), tonumber(paid)}}
end

local function change_user(label, person, shown, clicks, conversions, paid, exposes)
    local rows = arms[label] or {{}}
    arms[label] = rows
    local row = rows[person]
    if not row then
        row = {{before = read_row(label, person)}}
        row.now = row.before
        rows[person] = row
    end
    local now = row.now or (exposes and {{0, 0, 0, 0}})
    if now then
        paid = math.max(-most_paid, math.min(most_paid, now[4] + paid))
        row.now = {{now[1] + shown, now[2] + clicks, now[3] + conversions, paid}}
    end
end

local function add_moments(sums, row, sign)
    local shown, clicks, conversions, paid = unpack(row)
    local moments = {{1, shown, clicks, conversions > 0 and 1 or 0, conversions, paid,
        shown * shown, clicks * clicks, shown * clicks, paid * paid}}
    for i, moment in ipairs(moments) do sums[i] = (sums[i] or 0) + sign * moment end
end

local function write_sums(label, sums)
    local key = prefix .. 'arm_sums:' .. label
    local held = redis.pcall('HMGET', key, unpack(arm_names))
    if held.err then
        redis.call('DEL', key)
        held = {{}}
    end
    local fields = {{}}
    for i, name in ipairs(arm_names) do
        fields[2 * i - 1] = name
        fields[2 * i] = string.format('%.17g', (tonumber(held[i] or nil) or 0) + sums[i])
    end
    redis.call('HSET', key, unpack(fields))
    redis.call('EXPIRE', key, sums_ttl)
end

local function write_arms()
    for label, rows in pairs(arms) do
        local fields, sums = {{}}, {{}}
        for person, row in pairs(rows) do
            if row.now ~= row.before then
                fields[#fields + 1] = person
                fields[#fields + 1] = string.format('%.0f %.0f %.0f %.0f', unpack(row.now))
                add_moments(sums, row.now, 1)
                if row.before then add_moments(sums, row.before, -1) end
            end
        end
        if #fields > 0 then
            reset_and_call('HSET', prefix .. 'arm:' .. label, unpack(fields))
            write_sums(label, sums)
            reset_and_call('ZADD', prefix .. 'arms', now, label)
        end
    end
end
"""
