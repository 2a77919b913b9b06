--- Rules that venues use, ready made (docs/rules.md has each with its exact definition):
---
---     local rules = require "usher.rules"
---     return policy { rules = { rules.max_per_customer(6), rules.no_orphans { aisles = true } },
---                     price = rules.price_zones { stalls = 6500, circle = 4500 } }
---
--- Every function makes a rule (price_zones: a price function) and checks its parameters when the
--- policy is loaded. A rule reads the house and the ask and changes nothing; it is run for each
--- event that a request touches. All take `exempt`, a list of roles they do not concern. They
--- are written like a policy's own rules, so any of them is a place to copy from.
local near = require "usher.near"
local policy = require "usher.policy"

local M = { time = require("usher.rules.common").time }

for _, part in ipairs { "limits", "hoarding", "neighbours", "places", "window", "prices" } do
    for name, make in pairs(require("usher.rules." .. part)) do
        M[name] = make
        policy.makers[make] = "rules." .. name
    end
end

setmetatable(M, { __index = function(_, name)
    error(("there is no rule '%s'%s"):format(tostring(name), near.hint(name, M)), 2)
end })

return M
