-- An airline: cabins are sold beyond their capacity, seats are given at check-in.
local rules = require "usher.rules"

return policy {
    name = "airline",
    hold_ttl = "20m", hold_max = "1h", late_confirm = true,
    rules = {
        rules.overbook { ECONOMY = 110, BUSINESS = 102 },
        rules.max_per_customer(9, { exempt = { "groups" } }),
        rules.window { from = "-330d", to = "-45m" },
        -- numbered seats are for those who have a ticket of the cabin: see check-in
        rule {
            name = "check-in-only", on = { "take" },
            seat = function() return false end,
            message = "seats are given at check-in", hint = "book the cabin: ECONOMY*1",
        },
    },
    price = rules.price_zones { economy = { 18900, child = 9900 }, business = 69900 },
    commands = { require "check_in" },
}
