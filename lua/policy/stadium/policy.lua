-- A stadium's on-sale: buyers queue, members come first, nobody hoards, the lower tier fills first.
local rules = require "usher.rules"

local queue = require("usher.queue").new {
    opens = "-60d", rate = 100, window = "15m", exempt = { "box-office" },
}

return policy {
    name = "stadium",
    hold_ttl = "8m", hold_max = "15m", wait_ttl = "15m",
    rules = {
        queue.rule,
        -- members for two days, then fans of the club, then everybody
        rules.window { from = "-60d", to = "-56d", codes = { MEMBER = "-60d", FAN = "-58d" },
            exempt = { "box-office" } },
        rules.max_per_customer(4),
        rules.hold_cap(4),
        rules.rehold { cooldown = "10m", lifetime = "15m" },
        rules.section_order { at = 80, sections = { "lower", "middle", "upper" } },
    },
    price = rules.price_zones { default = 4900 },
    commands = queue.commands,
}
