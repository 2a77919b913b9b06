--- A policy with a command of its own, `upgrade`: the example of docs/lua.md, 2.
local rules = require "usher.rules"

return policy {
    name = "upgrade",
    price = rules.price_zones { default = 1000, stalls = 6500, circle = 4500 },
    commands = { require "upgrade" },
}
