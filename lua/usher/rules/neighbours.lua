--- Who sits beside whom: no single seats left over, parties together, parties apart.
local common = require "usher.rules.common"
local rule = require("usher.policy").rule

local M = {}

--- Groups of neighbours among `seats`: never across an aisle, each in physical order.
---@param seats Seat[]
---@return Seat[][]
local function blocks_of(seats)
    local mine, blocks = {}, {}
    for _, seat in ipairs(seats) do mine[seat] = true end
    for _, seat in ipairs(seats) do
        local before = seat:next(-1)
        if not (before and mine[before]) then
            local block = {}
            while seat and mine[seat] do
                block[#block + 1] = seat
                seat = seat:next(1)
            end
            blocks[#blocks + 1] = block
        end
    end
    return blocks
end

--- A party's numbered seats are next to each other: in one block of neighbours (no aisle
--- between), or in at most `split` of them. An order is judged as a whole, and a hold again when
--- it is confirmed.
---@param spec? { split?: integer, exempt?: string[] }
---@return Rule
function M.adjacent(spec)
    local given = common.read("adjacent", spec, { split = "count" })
    local split = given.split or 1
    return rule {
        name = "adjacent", exempt = given.exempt, on = common.PARTY,
        check = function(_, ask)
            local blocks = blocks_of(common.seats(ask.seats))
            if #blocks <= split then return true end
            return nil, {
                message = split == 1 and "the seats are not next to each other: SEAT is apart"
                    or ("the seats are in more than %d blocks: SEAT is apart"):format(split),
                seat = blocks[split + 1][1],
            }
        end,
    }
end

local function gives_up(ask, seat)
    for _, place in ipairs(ask.leaves) do
        if place.seat == seat then return true end
    end
    return false
end

local FEASIBLE = { event = true, block = true }

--- No request leaves a free seat alone: a free seat without a free neighbour on either side,
--- where aisles and row ends are no neighbours. Seats that were alone before do not count. A
--- move is judged by what it takes and by what it gives up. What is given back is not judged: who takes
--- three seats and releases the one in the middle leaves it alone.
---   aisles    true: a single seat at an aisle or at a row's end may be left
---   feasible  "event" | "block": one may be left when no other block of neighbours of that size
---             and category avoids it, in the whole event or in the section; nil: never
---@param spec? { aisles?: boolean, feasible?: "event"|"block", exempt?: string[] }
---@return Rule
function M.no_orphans(spec)
    local given = common.read("no_orphans", spec, { aisles = "boolean", feasible = "text" })
    local aisles, feasible = given.aisles or false, given.feasible
    if feasible and not FEASIBLE[feasible] then
        common.misuse(2, 'no_orphans: feasible is "event" or "block"')
    end
    local singles = aisles and "ends" or "never"

    local function avoidable(tx, ask)
        if not feasible then return true end
        local seats = common.seats(ask.gains)
        if #seats == 0 then return true end
        return #tx:near(seats[1], #seats, { most = 1, singles = singles, far = true,
            section = feasible == "block", leaves = ask.leaves }) > 0
    end

    return rule {
        name = "no_orphans", exempt = given.exempt,
        check = function(tx, ask)
            if ask.exchange then return true end
            local orphan = tx:single(ask, aisles)
            if not orphan or not avoidable(tx, ask) then return true end
            local word = gives_up(ask, orphan) and "keep %s, or sit elsewhere" or "take %s too, or sit elsewhere"
            return nil, { message = "this would leave SEAT alone", seat = orphan, singles = singles,
                otherwise = word:format(orphan.label) }
        end,
    }
end

--- Parties keep a distance of `d`: every seat is at least that far from the seats of other
--- customers (exactly `d` is enough). The unit is that of the chart's x and y; where a chart
--- has none, a seat along the row and a row across. With same_row only the row counts, in
--- seats, aisles included: with d = 2 one seat between two parties stays free. One's own seats,
--- in whatever order, and blocked ones are ignored.
---@param d number
---@param spec? { same_row?: boolean, exempt?: string[] }
---@return Rule
function M.distance(d, spec)
    d = common.need("distance", "the distance", "number", d)
    local given = common.read("distance", spec, { same_row = "boolean" })
    return rule {
        name = "distance", exempt = given.exempt,
        message = "SEAT is too close to another party",
        seat = function(tx, ask, seat)
            for _, taken in ipairs(tx:within(seat, d, given.same_row)) do
                local order = taken.order
                if order and order.customer ~= ask.customer then return false end
            end
            return true
        end,
    }
end

return M
