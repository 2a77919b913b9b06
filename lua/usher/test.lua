--- Helpers for testing a policy (docs/lua.md, 3 "Tests"): the real policy VM and the real
--- store in this process, no cluster.
---
---     local test = require "usher.test"
---     local house = test.house { policy = "policy.lua", rows = { "A stalls: ....|......" } }
---     house:grants "hold 1 ann A1 A2"
---     house:refuses("book 1 bob A4", { rule = "no_orphans", seat = "A3" })
---     house:pass "16m"
---
--- `usher policy test DIR` runs a policy's *_spec.lua; plain `busted` runs them too, with
--- usher_house.so (built beside the program) where package.cpath or $USHER finds it.
local house = require "usher.test.house"
local property = require "usher.test.property"

return {
    house = house.new,
    property = property.run,
    json = house.json,
}
