-- docs/rules.md is made from the annotations, and those name what is there.
local docs = dofile ".ci/docs.lua"

local read = require("spec.support.files").read

describe("the policy reference", function()
    it("is the page that ./dev docs makes now", function()
        assert.equal(docs.text(), read(docs.page), "run ./dev docs")
    end)

    it("annotates every method of tx and of events that C offers, and no other", function()
        local types = read "lua/usher/types.lua"
        local function annotated(class)
            local out = {}
            for name in types:gmatch("\nfunction " .. class .. ":([%w_]+)") do out[name] = true end
            return out
        end
        local function offered(pattern, prefix)
            local out, pipe = {}, assert(io.popen("cat src/policy/*.c"))
            for name in pipe:read("a"):gmatch(pattern) do out[name] = true end
            pipe:close()
            assert.truthy(next(out), prefix)
            return out
        end
        assert.same(offered('{ "([%w_]+)", tx_[%w_]+ }', "tx"), annotated "Tx")
        assert.same(offered('{ "([%w_]+)", event_[%w_]+ }', "event"), annotated "Event")
    end)

    it("has every shipped rule", function()
        local page = read(docs.page)
        for name in pairs(require "usher.rules") do
            if name ~= "time" then assert.truthy(page:find("### `rules." .. name .. "(", 1, true), name) end
        end
    end)
end)
