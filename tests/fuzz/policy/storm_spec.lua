--- Plays the policy beside this file with STORM_COUNT seeds from STORM_FIRST, and looks whether every
--- seat and its order still say the same of each other:
---     STORM_COUNT=100000 usher policy test tests/fuzz/policy
local test = require "usher.test"

local FIRST, COUNT = tonumber(os.getenv "STORM_FIRST" or 1), tonumber(os.getenv "STORM_COUNT" or 2000)
local ROWS = { "A: ....|....", "B: ..w.c...", "C: ......" }

local function house()
    return test.house { policy = "policy.lua", rows = ROWS, areas = { FLOOR = 10, PIT = 3 }, events = { "1", "2" } }
end

--- Every seat that is taken is in the one order that it names, and no order has another's.
local function check(h, seed)
    local mine = {} -- "event seat" -> order
    for _, order in ipairs(h:orders()) do
        if order.status == "held" or order.status == "booked" then
            for _, place in ipairs(order.seats) do
                if not place.count then -- of an area there are many
                    local key = place.event .. " " .. place.seat
                    assert(not mine[key], ("seed %d: %s is in two orders"):format(seed, key))
                    mine[key] = order.order
                end
            end
        end
    end
    for _, id in ipairs { "1", "2" } do
        if h:run { "event", id } then
            for _, seat in ipairs(h:seats(id)) do
                local taken = seat.status == "held" or seat.status == "booked"
                assert(taken == (mine[id .. " " .. seat.label] ~= nil),
                    ("seed %d: %s of %s is %s, which no order says"):format(seed, seat.label, id, seat.status))
            end
        end
    end
end

it("does no harm, whatever a policy calls", function()
    local h, granted = nil, 0
    for seed = FIRST, FIRST + COUNT - 1 do
        if (seed - FIRST) % 40 == 0 then h = house() end
        local answer = h:run("storm " .. seed)
        granted = granted + (answer ~= nil and 1 or 0)
        check(h, seed)
        if seed % 7 == 0 then h:pass "11m" end
    end
    assert(granted >= COUNT // 5, ("only %d of %d were granted: the storms do too little"):format(granted, COUNT))
    print(("%d storms, %d granted"):format(COUNT, granted))
end)
