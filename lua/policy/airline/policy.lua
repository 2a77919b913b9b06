-- An airline: cabins are sold beyond their capacity, seats are given at check-in.
local rules = require "usher.rules"

return policy {
    name = "airline",
    hold_ttl = "20m", hold_max = "1h", late_confirm = true,
    rules = {
        -- who has checked in has a seat instead of a place, and is sold all the same
        rules.overbook({ ECONOMY = 110, BUSINESS = 102 }, { seats = true }),
        rules.max_per_customer(9, { exempt = { "groups" } }),
        rules.window { from = "-330d", to = "-45m" },
        -- a seat is for who has a ticket of its cabin: only check-in looks at that
        rule {
            name = "check-in-only",
            seat = function(_, ask) return ask.command == "check-in" end,
            message = "seats are given at check-in", hint = "book the cabin: ECONOMY*1",
        },
    },
    price = rules.price_zones { economy = { 18900, child = 9900 }, business = 69900 },
    commands = { require "check_in" },
}
