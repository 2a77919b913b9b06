local test = require "usher.test"

-- Tables of 2, 4 and 6, and three stools.
local function chart()
    local seats = {}
    for name, size in pairs { T2 = 2, T4 = 4, T6 = 6, bar = 3 } do
        for i = 1, size do seats[#seats + 1] = { label = name .. "-" .. i, table = name } end
    end
    table.sort(seats, function(a, b) return a.label < b.label end)
    return { rows = { { name = "room", seats = seats } } }
end

local function house()
    return test.house { policy = "policy.lua", charts = { house = chart() }, now = "2026-05-01 12:00",
        events = { ["1"] = { attributes = { start = "2026-05-01 19:00" } } } }
end

describe("the restaurant", function()
    it("seats guests at the smallest table where they fit", function()
        local h = house()
        h:grants("reserve 1 ann 3", { metadata = { guests = 3, table = "T4" } })
        h:grants("reserve 1 bob 2", { metadata = { guests = 2, table = "T2" } })
        h:grants("reserve 1 cid 1", { metadata = { guests = 1, table = "T6" } })
        h:refuses("reserve 1 dan 2", { code = "TAKEN", hint = "bar" })
        h:grants "book 1 dan bar-1 bar-2"
    end)

    it("sells no half tables", function()
        local h = house()
        h:refuses("book 1 ann T4-1 T4-2", { rule = "whole_tables",
            alternative = { "T4-1", "T4-2", "T4-3", "T4-4" } })
        h:grants "book 1 ann T4-1 T4-2 T4-3 T4-4"
        h:play "o = hold 1 bob T6-1..T6-6\nrelease $o T6-5 T6-6"
        h:refuses("confirm $o", "whole_tables")
    end)

    it("gives a table that is cancelled to who waits for one of its size", function()
        local h = house()
        for _, who in ipairs { "a", "b", "c" } do h:grants(("reserve 1 %s 1"):format(who)) end
        h:grants "wait 1 eve 4"
        h:grants("cancel " .. h:orders({ customer = "b" })[1].order)
        assert.equal(4, #h:orders({ customer = "eve" })[1].seats)
    end)

    it("takes nothing in the last half hour", function()
        local h = house()
        h:at "2026-05-01 18:30"
        h:refuses("reserve 1 ann 2", { rule = "window" })
    end)

    it("never seats two customers at one table, nor sells half of one", function()
        local function half_table(order)
            local seats = {}
            for _, place in ipairs(order.seats) do
                local name = place.seat:match("^(.*)-")
                seats[name] = (seats[name] or 0) + 1
            end
            for name, n in pairs(seats) do
                if name ~= "bar" and n ~= tonumber(name:match("%d+")) then return name end
            end
        end
        test.property {
            policy = "policy.lua", charts = { house = chart() }, now = "2026-05-01 12:00", party = 6,
            events = { ["1"] = { attributes = { start = "2027-05-01 19:00" } } },
            customers = 300,
            actions = { function(_, random)
                return ("reserve 1 r%d %d"):format(random:int(1, 999), random:int(1, 6))
            end },
            holds = function(h, step)
                local at = {}
                for _, seat in ipairs(h:seats()) do
                    local name = seat.label:match("^(.*)-")
                    if name ~= "bar" and seat.order then
                        if at[name] and at[name] ~= seat.customer then return false, name end
                        at[name] = seat.customer
                    end
                end
                for _, id in ipairs(step.judged) do
                    local name = half_table(h:order(id))
                    if name then return false, "half of " .. name end
                end
            end,
        }
    end)
end)
