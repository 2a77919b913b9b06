--- A policy that means harm: its command `storm SEED` makes random calls of everything that a policy
--- may call, with values that fit and values that do not, from rules, prices, hooks, scores,
--- metamethods and callbacks, each inside others; and it changes every table that it is shown.
--- storm_spec.lua plays it. Whatever it does, the node's own state must stay right.
local CALLS_MAX, DEPTH_MAX, OBJECTS_MAX = 400, 12, 400

local STRINGS = { "", "A1", "A2", "B3", "1", "2", "FLOOR", "FLOOR*2", "FLOOR*2=child", "ann", "bob", "front", "focal",
    "take", "reseat", "confirm", "extend", "released", "cancelled", "expired", "free", "held", "booked", "default",
    "10m", "-1", "1e99", "\0", "\255\254", ("z"):rep(300), '{"a":1}', '[{"row":"A","seats":4}]', "*" }
local NUMBERS = { 0, 1, 2, 3, -1, 5, 100, 1000000, 2 ^ 31, 2 ^ 32, 2 ^ 53, math.mininteger, math.maxinteger, 0 / 0,
    1 / 0, -1 / 0, 1.5, -0.0, 255, 65536, 16777215, 16777216 }
local KEYS = { "event", "customer", "count", "category", "order", "leaves", "score", "orphans", "split", "also", "hold",
    "seats", "metadata", "rules", "verb", "seat", "area", "type", "data", "price", "overbook", "min", "most",
    "singles", "section", "far", "any", "id", "status", "since", "limit", "after", "by", "x", "y", "chart",
    "attributes", "ruleset", "zone", "currency", "name", "row", "aisles", "areas", "rows", "capacity" }
local FIELDS = { "id", "status", "attributes", "ruleset", "currency", "zone", "counts", "name", "section", "label",
    "event", "row", "position", "category", "x", "y", "accessible", "companion", "restricted", "order", "customer",
    "expires_at", "first_held_at", "seats", "lines", "price", "metadata", "policy", "index", "count", "type", "data",
    "capacity", "now", 1, 2, -1, 1e9 }
local OF_TX = { "raw", "event", "order", "chart", "settings", "rulesets", "count", "random", "orders", "keys", "events",
    "charts", "policy_record", "policy_files", "policy_default", "seats_view", "best", "near", "single", "codes",
    "with_codes", "attempt", "used", "within", "take", "confirm", "reseat", "swap", "judge", "extend", "finish",
    "split", "amend", "block", "unblock", "set", "get", "emit", "chart_put", "event_put", "event_set", "event_remove",
    "order_drop", "forget", "policy_put" }
local OF_EVENTS = { "seat", "area", "nearest", "rows", "areas", "categories", "runs", "table", "sections" }
local OF_ASK = { "seats", "all", "gains", "leaves", "customer", "event", "size", "order", "verb", "codes", "after" }

local storming, state, calls, depth = false, 0, 0, 0
local tx, seats, events, orders, objects
local past = {} -- objects of earlier calls, which have ended
local call, value

local function random(m, n)
    state = (state * 1103515245 + 12345) & 0x7fffffff
    return m + (state >> 8) % (n - m + 1)
end
local function chance(n) return random(1, n) == 1 end
local function pick(list) return list[random(1, #list)] end
local function maybe(v) return chance(2) and v or nil end

local function some_seats()
    local list = {}
    for i = 1, random(0, 4) do list[i] = pick(seats) end
    return list
end

--- A function that changes what it is given, calls anything, and returns anything.
local function vandal(first)
    if type(first) == "table" and chance(2) then first[random(1, 3)] = value(2) end
    if chance(2) then call() end
    return value(2), value(2)
end

local function haunted(list, level)
    return setmetatable(list, {
        __index = function()
            if chance(3) then return nil end
            call()
            return value(level + 1)
        end,
        __newindex = call, __eq = function() return true end,
        __len = function() call() return value(3) end,
        __lt = function() call() return chance(2) end,
        __call = function() call() return value(3) end,
        __tostring = function() call() return pick(STRINGS) end,
        __name = pick(STRINGS),
    })
end

local function some_table(level)
    local t = {}
    for _ = 1, random(0, 5) do
        if chance(2) then t[#t + 1] = value(level + 1) else t[pick(KEYS)] = value(level + 1) end
    end
    if chance(12) then t[1] = t end
    return chance(6) and haunted(t, level) or t
end

local KINDS = {
    function() return pick(objects) end, function() return pick(objects) end, function() return pick(STRINGS) end,
    function() return pick(NUMBERS) end, function() return nil end, function() return chance(2) end, some_seats,
    function(level) return level < 3 and some_table(level) or {} end, function() return vandal end,
    function() return pick(events) end, function() return pick(orders) end, function() return pick(seats) end,
    function() return random(0, 9) end, function() return #past > 0 and pick(past) or 1 end,
}
function value(level) return pick(KINDS)(level or 0) end

local function spoiler(list)
    if chance(3) then call() end
    list[random(1, 3)] = value()
    return random(1, 9)
end

--- Calls that make sense, for chance alone makes few that go far.
local FITTING = {
    function()
        return "best", { event = pick(events), customer = pick(STRINGS), count = random(0, 5),
            score = pick { value, spoiler, spoiler }, leaves = maybe(some_seats()), order = maybe(pick(orders)),
            split = chance(2), also = chance(5) and { pick(events) } or nil, hold = maybe(600), orphans = chance(2) }
    end,
    function()
        return "take", { customer = pick { "ann", "bob", "cid" }, seats = some_seats(), hold = maybe(600),
            metadata = value(), rules = not chance(4) and nil }
    end,
    function()
        local places = { area = pick { "FLOOR", "PIT" }, event = pick(events), count = random(0, 5),
            type = maybe "child" }
        return "take", { customer = pick { "ann", "bob", "cid" }, seats = { places }, hold = maybe(600) }
    end,
    function() return "reseat", pick(orders), some_seats(), chance(4) and { rules = false } or nil end,
    function() return "swap", pick(orders), some_seats(), pick(orders), some_seats() end,
    function() return "split", pick(orders), some_seats() end,
    function()
        return "finish", pick(orders), pick { "released", "cancelled", "expired" }, maybe(some_seats())
    end,
    function() return "confirm", pick(orders), maybe(value()) end,
    function() return "extend", pick(orders), tx.now + random(-1000, 10000000) end,
    function() return "near", pick(seats), random(0, 5), chance(2) and random(0, 10) or value() end,
    function()
        return "judge", { verb = pick { "take", "confirm", "reseat", "extend" }, customer = "ann", seats = some_seats(),
            order = value(), leaves = value() }
    end,
    function() return "single", { seats = some_seats(), event = pick(events), verb = "take" }, value() end,
    function() return "within", pick(seats), random(0, 5), value() end,
    function()
        return "attempt", function()
            call()
            call()
            if chance(3) then error(value()) end
            return value()
        end
    end,
    function() return "with_codes", { pick(STRINGS) }, value() end,
    function() return "block", some_seats(), pick(STRINGS) end,
    function() return "unblock", some_seats() end,
    function() return chance(9) and "event_remove" or "event", pick(events) end,
    function() return chance(9) and "order_drop" or "order", pick(orders) end,
    function() return "amend", pick(orders), { metadata = value(), price = value() } end,
}

local LIBRARY = {
    function(t) table.sort(t, function() t[random(1, 4)] = value() return chance(2) end) end,
    function(t) return table.concat(t, pick(STRINGS), random(-2, 5), random(-2, 5)) end,
    function(t) return table.unpack(t, random(-3, 3), random(-3, 8)) end,
    function()
        local form = pick { "%s", "%d", "%q", "%5.3f", "%x", "%c", "%99d", "%i%s%s" }
        return string.format(form, value(), value(), value())
    end,
    function()
        local pattern = pick { ".", "(.)", "%w*", "()", "%f[%w]", "[", "%b()", "(" }
        return string.gsub(pick(STRINGS), pattern, value())
    end,
    function(t) return table.move(t, random(-3, 5), random(-3, 5), random(-3, 5), value()) end,
    function(t) return table.insert(t, value(), value()) end,
    function(t) return next(t, value()) end,
    function(t) return json.encode(t), json.decode(pick(STRINGS)) end,
}

local WAYS = {
    function()
        local c = table.pack(pick(FITTING)())
        return tx[c[1]](tx, table.unpack(c, 2, c.n))
    end,
    function()
        local args = {}
        for i = 1, random(0, 4) do args[i] = value() end
        return tx[pick(OF_TX)](chance(20) and value() or tx, table.unpack(args, 1, 4))
    end,
    function()
        local event = chance(3) and value() or pick(events)
        return event[pick(OF_EVENTS)](event, value(), value())
    end,
    function()
        local o = pick(objects)
        return o[pick(FIELDS)], #o, tostring(o)
    end,
    function() return value() == value(), pick(seats):next(value(), value()) end,
    function() return pick(LIBRARY)(some_table(0)) end,
}

local function keep(v)
    if v == nil or #objects >= OBJECTS_MAX then return end
    objects[#objects + 1] = v
    if chance(50) and #past < 100 then past[#past + 1] = v end
end

--- One random call; its errors are what a policy would catch.
function call()
    calls = calls + 1
    if calls > CALLS_MAX or depth > DEPTH_MAX then return end
    depth = depth + 1
    local way = random(1, 10)
    local ok, a, b = pcall(WAYS[way <= 5 and 1 or way - 4])
    depth = depth - 1
    if not ok then return end
    keep(a)
    keep(b)
    if type(a) == "table" then keep(rawget(a, 1)) end
end

local function gather()
    seats, events, orders, objects = {}, {}, {}, {}
    for _, id in ipairs { "1", "2" } do
        local event = tx:event(id)
        events[#events + 1] = event
        for _, row in ipairs(event and event:rows() or {}) do
            objects[#objects + 1] = row
            for i = 1, #row do seats[#seats + 1] = row[i] end
        end
        for _, area in ipairs(event and event:areas() or {}) do seats[#seats + 1] = area end
    end
    for _, order in ipairs(tx:orders {}) do
        orders[#orders + 1] = order
        for _, place in ipairs(order.seats) do seats[#seats + 1] = place end
    end
    for _, list in ipairs { seats, events, orders } do
        if #list == 0 then list[1] = tx end
        table.move(list, 1, #list, #objects + 1, objects)
    end
end

local function meddle(now, ask)
    if not storming then return true end
    tx = now
    if chance(3) then call() end
    if chance(10) then pcall(function() ask[pick(OF_ASK)] = value() end) end
    if chance(20) then error(value()) end
    return not chance(5)
end

local function storm(now, req)
    tx, state, calls, depth = now, req.seed, 0, 0
    gather()
    storming = true
    for _ = 1, random(1, 25) do call() end
    storming = false
    if chance(4) then error(value()) end
    return chance(2) and value() or { calls = calls }
end

return policy {
    name = "storm",
    rules = {
        rule { name = "meddle", check = meddle, on = { "take", "reseat", "confirm", "extend" } },
        rule { name = "seat", seat = function()
            if storming and chance(20) then call() end
            return not (storming and chance(8))
        end },
    },
    price = function()
        if storming and chance(10) then call() end
        return storming and chance(20) and value() or 100
    end,
    hooks = { take = meddle, confirm = meddle, reseat = meddle, release = meddle, cancel = meddle, expire = meddle },
    best = { score = function(list) return storming and spoiler(list) or 1 end },
    commands = {
        command { name = "storm", kind = "transaction", group = "storm", summary = "random calls", example = "storm 1",
            args = { { "seed", "int" } }, run = storm },
    },
}
