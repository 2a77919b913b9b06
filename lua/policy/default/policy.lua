-- The policy of a cluster that was given none: a free seat may be taken by anybody, a hold
-- lasts 10 minutes and at most 30 in all, seats cost nothing. Start your own from here:
--
--     local rules = require "usher.rules"
--     rules = { rules.max_per_customer(6), rules.no_orphans { aisles = true } },
--     price = rules.price_zones { stalls = 6500, circle = 4500 },
--
-- What the commands themselves do (hold, book, best, wait ...) is in lua/commands, in the same
-- language: a copy of one in your bundle's `commands` takes its place.
return policy {
    name = "default",
    hold_ttl = "10m",
    hold_max = "30m",
    wait_ttl = "15m",
    rules = {},
}
