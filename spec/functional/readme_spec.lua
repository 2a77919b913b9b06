--- Runs every command that the README shows, in its order, on a real cluster, and compares what it
--- prints. What differs from run to run (order ids, times, node ids) must differ consistently.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local uv = require "luv"

local read = require("spec.support.files").read

--- { command, expected } pairs of the blocks marked `console`.
local function examples(text)
    local list = {}
    for block in text:gmatch("\n```console\n(.-)\n```") do
        local current
        for line in (block .. "\n"):gmatch("(.-)\n") do
            local command = line:match("^%$ (.*)")
            if command then
                current = { command = command, lines = {} }
                list[#list + 1] = current
            elseif line ~= "" then
                table.insert(current.lines, line)
            end
        end
    end
    return list
end

local ORDER = "%f[%w]" .. ("[0-9A-HJKMNP-TV-Z]"):rep(13) .. "%f[^%w]"

--- Makes one line comparable: what may differ becomes a mark; order ids are collected.
local function normal(line, orders)
    line = line:gsub(ORDER, function(id)
        if not id:find("%u") then return nil end
        orders[#orders + 1] = id
        return "<order>"
    end)
    line = line:gsub("%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ", "<time>")
    line = line:gsub('"expires_at":%d+', '"expires_at":<time>')
    line = line:gsub(("%x"):rep(16), "<id>")
    line = line:gsub('"index":%d+', '"index":<n>'):gsub("^index%s+%d+", "index <n>")
    line = line:gsub("^commit_ms%s+[%d.]+", "commit_ms <n>"):gsub("localhost:%d+=[%d.]+", "localhost=<n>")
    line = line:gsub("localhost:%d+%s+voter%s+%a+%s+%d+", "localhost voter <bool> <n>")
    line = line:gsub(": [%d.]+ seconds$", ": <n> seconds"):gsub("^author(%s+)%S+", "author <name>")
    line = line:gsub("^requests%s+%d+", "requests <n>"):gsub("^same%s+%d+", "same <n>")
    line = line:gsub("^leader%s+localhost:%d+", "leader <address>")
    return (line:gsub("%s+$", ""):gsub("%s+", " ")) -- columns are as wide as their addresses
end

describe("the README", function()
    local c, found

    setup(function()
        c = cluster.new()
        found = examples(read("README.md"))
        os.execute(("mkdir '%s/mine'"):format(c.dir))
        for block, path in read("README.md"):gmatch("\n```lua\n(%-%- (mine/[%w_]+%.lua)\n.-\n)```") do
            cluster.write(c.dir .. "/" .. path, block)
        end
    end)
    teardown(function() c:close() end)

    it("shows commands", function() assert.is_true(#found > 8) end)

    it("shows what its commands print", function()
        local known = {} -- order ids of the README -> ids of this run
        for _, example in ipairs(found) do
            local command = example.command:gsub(ORDER, function(id) return known[id] end)
            command = command:gsub("%./usher", cluster.usher):gsub("%-p 600(%d)", function(digit)
                return "-p " .. c.nodes[tonumber(digit) + 1].port
            end):gsub(" mine%f[^%w]", " " .. c.dir .. "/mine")
            local _, out, err = process.run({ "/bin/bash", "-c", "exec 2>&1; " .. command },
                { env = { USHER_ADDR = c:addresses(), TZ = "UTC" }, seconds = 60 })
            local lines = {}
            for line in (out .. err):gmatch("[^\n]+") do lines[#lines + 1] = line end
            for k, expected in ipairs(example.lines) do
                local theirs, ours = {}, {}
                expected = expected:gsub("^%(error%) ", "")
                assert.equal(normal(expected, theirs), normal((lines[k] or "(nothing)"):gsub("^%(error%) ", ""), ours),
                    ("line %d of `%s`:\n%s%s"):format(k, example.command, out, err))
                for i, id in ipairs(theirs) do known[id] = ours[i] end
            end
            assert.equal(#example.lines, #lines, example.command .. " prints more:\n" .. out .. err)
        end
    end)

    it("leads a new user from an empty machine to a map that stays right and a command of one's own", function()
        local dir = uv.cwd() .. "/" .. cluster.directory()
        local source = read("README.md"):match("\n```lua\n(return command {\n    name = \"sold\".-)```")
        cluster.write(dir .. "/sold.lua", source)
        local mine = cluster.new { profile = ("scripts = { %q },"):format(dir .. "/sold.lua") }
        local function usher(...)
            local status, out, err = mine:run(...)
            assert.equal(0, status, table.concat({ ... }, " ") .. "\n" .. out .. err)
            return out
        end
        usher("run", "lua/scripts/import-cinema.lua", "@lua/scripts/cinema.json")
        assert.truthy(usher("seats", "1", "--full"):find("\nA  X . .", 1, true))
        local order = usher("hold", "1", "ann", "C1", "C2"):match("order +(%w+)")
        usher("confirm", order)
        assert.equal("4 of 80 sold\n", usher("sold", "1"))
        assert.truthy(usher("help", "sold"):find("^sold EVENT\nHow many seats"))
        local leader = mine:leader()
        assert.truthy(usher("leader"):find(mine.nodes[leader].address, 1, true))
        mine:kill(leader)
        usher("book", "1", "bob", "C3")
        local map = usher("seats", "1", "--full", "--linearizable")
        assert.truthy(map:find("\nC  X X X . .", 1, true), map)
        assert.equal("5 of 80 sold\n", usher("sold", "1"))
        mine:start(leader)
        mine:ready()
        cluster.write(dir .. "/sold.lua", (source:gsub("of %%d sold", "of %%d gone")))
        for i = 1, 3 do mine:must(i, "scripts", "reload") end
        assert.equal("5 of 80 gone\n", usher("sold", "1"))
        mine:close()
        os.execute("rm -rf '" .. dir .. "'")
    end)

    it("names files that exist", function()
        for path in read("README.md"):gmatch("`([%w_%-/%.]+/[%w_%-%.]*)`") do
            if path:match("^[sldtp%.]") and not path:match("^data/") and not path:match("^%./") then
                assert(io.open(path), path .. " is named in the README and does not exist")
            end
        end
    end)
end)
