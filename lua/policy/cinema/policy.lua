-- A cinema: families, good seats first, no holes in the rows.
local rules = require "usher.rules"
local scores = require "usher.scores"

-- Children come with somebody who is not one, also after a move, and when a hold that has given
-- seats back is confirmed.
local with_adult = rule {
    name = "with-adult", on = { "take", "reseat", "confirm" },
    check = function(_, ask)
        local children = 0
        for _, place in ipairs(ask.seats) do
            if place.type == "child" then children = children + place.count end
        end
        if children > 0 and children == ask.size then
            deny { message = "a child needs an adult in the same order", hint = "add a seat for one" }
        end
        return true
    end,
}

return policy {
    name = "cinema",
    hold_ttl = "10m", hold_max = "20m",
    rules = {
        rules.max_per_customer(8),
        rules.no_orphans { aisles = true, feasible = "event" },
        with_adult,
    },
    price = rules.price_zones { default = { 1200, child = 800 }, lounge = { 1800, child = 1400 } },
    best = { score = scores.focal { y = 6 } }, -- the middle of the sixth row
    rulesets = {
        matinee = { price = rules.price_zones { default = { 800, child = 500 }, lounge = 1200 } },
    },
}
