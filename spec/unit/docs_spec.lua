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

    it("annotates the globals of a bundle, and every key of a policy, a rule and a command", function()
        local types, source = read "lua/usher/types.lua", read "lua/usher/policy.lua"
        for _, name in ipairs { "policy", "rule", "deny", "command" } do
            assert.truthy(types:find("\nfunction " .. name .. "(", 1, true), name)
        end
        assert.truthy(types:find("\n---@type Json\njson = ", 1, true))
        local function annotated(class, key)
            local block = types:match("\n%-%-%-@class " .. class .. " (.-)\n\n")
            assert.truthy(block:find("@field " .. key .. "%??%s"), class .. "." .. key)
        end
        for _, name in ipairs { "SETTINGS", "POLICY" } do
            local list = assert(source:match("\nlocal " .. name .. " = {(.-)}"), name)
            for key in list:gmatch("([%w_]+) = true") do annotated("PolicySpec", key) end
        end
        local code = read "src/policy/command_lua.c"
        for _, pattern in ipairs { '_member%(L, 1, "(%w+)"', 'lua_getfield%(L, 1, "(%w+)"%)' } do
            local n = 0
            for key in code:gmatch(pattern) do
                annotated("CommandSpec", key)
                n = n + 1
            end
            assert.truthy(n > 2, pattern)
        end
        for key in code:gmatch('_member%(L, t, "(%w+)"') do annotated("ArgumentSpec", key) end
    end)

    it("has every shipped rule", function()
        local page = read(docs.page)
        for name in pairs(require "usher.rules") do
            if name ~= "time" then assert.truthy(page:find("### `rules." .. name .. "(", 1, true), name) end
        end
    end)
end)
