--- What a place costs.
local common = require "usher.rules.common"
local deny = require("usher.policy").deny

local M = {}

local function check_price(name, amount)
    if math.type(amount) ~= "integer" or amount < 0 then
        common.misuse(3, "price_zones: the price of %s is no whole amount of minor units", name)
    end
end

--- A price function: minor units by category; a table gives prices by ticket type, its first
--- element the one without a type. `default` is for every category that is not listed.
---@param zones table<string, integer|table>
---@return fun(tx: Tx, ask: Ask, seat: Place): integer
function M.price_zones(zones)
    if type(zones) ~= "table" then common.misuse(2, "price_zones: a table is expected") end
    for category, price in pairs(zones) do
        if type(price) == "table" then
            for kind, amount in pairs(price) do check_price(category .. "=" .. tostring(kind), amount) end
        else
            check_price(tostring(category), price)
        end
    end
    return function(_, _, seat)
        local price = zones[seat.category]
        if price == nil then price = zones.default end
        if type(price) == "table" then
            local of_type = price[seat.type or 1]
            if of_type == nil then
                deny { message = ("there is no ticket '%s' for SEAT"):format(seat.type or ""),
                    seat = seat, code = "BADARG", rule = "price_zones" }
            end
            return of_type
        end
        if price == nil then
            deny { message = "SEAT has no price: its category is not on the list",
                seat = seat, rule = "price_zones" }
        end
        return price
    end
end

return M
