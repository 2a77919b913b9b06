-- A hall with places for wheelchair users, their companions, and a channel for a charity.
local rules = require "usher.rules"

return policy {
    name = "accessible",
    hold_ttl = "15m",
    rules = {
        rules.max_per_customer(6),
        -- a ticket `A1=wheelchair` brings up to three companions; what is left is for everybody:
        -- companion seats two days before, wheelchair places on the day
        rules.accessible { companions = 3, release = { companion = "-48h", accessible = "-4h" },
            exempt = { "box-office" } },
        rules.channels { { keys = { "CHARITY" }, categories = { "gallery" }, release = "-7d" } },
    },
    price = rules.price_zones { default = { 3000, wheelchair = 1500 }, gallery = 1000 },
}
