--- Orders of preference for tx:best and a policy's `best = { score = ... }`. They only say which of
--- several free blocks is better; which may be taken is the rules' business.
---
---     return policy { best = { score = require("usher.scores").focal { y = 6 } } }
---
--- A function is one too: it gets the seats of a block and returns a number, the highest wins
--- (of the first 1,000 blocks, rows from the front and each from its middle).
local M = {}

--- Rows from the front, in each row from its middle outwards: the default.
---@return Score
function M.front() return { by = "front" } end

--- Rows from the back, as in a cinema, in each row from its middle outwards.
---@return Score
function M.back() return { by = "back" } end

--- Nearest to a focal point, by the sum of the squared distances of a block's seats. In the
--- chart's x and y; where it has none, x is the position in the row and y the number of the row,
--- from 1. Without x the middle of each row is meant.
---@param point { x?: number, y: number }
---@return Score
function M.focal(point)
    if type(point) ~= "table" or type(point.y) ~= "number"
        or (point.x ~= nil and type(point.x) ~= "number") then
        error("scores.focal: { y = } or { x =, y = } in numbers is expected", 2)
    end
    return { by = "focal", x = point.x, y = point.y }
end

--- In the run of free seats where the fewest are left over: keeps large runs for large parties.
---@return Score
function M.tight() return { by = "tight" } end

--- For journeys of several legs (one event for each, with the same chart): the seats that are taken on
--- most of the legs just before and after, so that long free stretches stay whole.
---@param before Event|nil the leg before the journey
---@param after Event|nil the leg behind it
---@return fun(seats: Seat[]): number
function M.stretch(before, after)
    local function taken(event, seat)
        if not event then return 1 end -- the end of the line
        local there = event:seat(seat.label)
        return there and there.status ~= "free" and 1 or 0
    end
    return function(seats)
        local sum = 0
        for _, seat in ipairs(seats) do sum = sum + taken(before, seat) + taken(after, seat) end
        return sum
    end
end

return M
