-- A theatre: no single seat is left between two parties; a seat that a hold has lost can still be
-- confirmed as long as nobody else has it.
local rules = require "usher.rules"

return policy {
    name = "theatre",
    hold_ttl = "15m", hold_max = "30m", late_confirm = true,
    rules = {
        rules.max_per_customer(6, { exempt = { "box-office" } }),
        -- one seat at an aisle may stay empty; elsewhere only if the section has no better place
        rules.no_orphans { aisles = true, feasible = "block" },
        rules.window { to = "-0s" }, -- nothing is sold once the play has begun
    },
    price = rules.price_zones { stalls = 6500, circle = { 4500, student = 2000 }, default = 3000 },
}
