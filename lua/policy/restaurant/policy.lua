-- A restaurant: tables are booked whole, by the number of guests; the bar is sold stool by stool.
local rules = require "usher.rules"

return policy {
    name = "restaurant",
    hold_ttl = "5m", wait_ttl = "10m",
    rules = { rules.whole_tables { shared = { "bar" } }, rules.window { to = "-30m" } },
    best = { score = require("usher.scores").tight() },
    commands = { require "reserve" },
}
