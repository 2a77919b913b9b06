--- Bad input of every kind: one clear sentence, exit status 1 or 2, nothing changed.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"

local function usher(...) return process.run({ cluster.usher, ... }, { seconds = 20 }) end

--- One sentence on stderr that holds every one of `words`.
local function refused(status, expected, out, err, ...)
    assert.equal(expected, status, out .. err)
    assert.equal("", out)
    for _, word in ipairs { ... } do assert.truthy(err:find(word, 1, true), word .. " is not in: " .. err) end
end

describe("bad options and configuration", function()
    local dir, config
    setup(function()
        dir = cluster.directory()
        config = dir .. "/config.lua"
        cluster.write(config,
            'return { default = { "localhost:6000", "localhost:6001" }, staging = { "localhost:6100" } }')
    end)
    teardown(function() os.execute("rm -rf '" .. dir .. "'") end)

    local function check(text, ...)
        local path = dir .. "/bad.lua"
        cluster.write(path, text)
        local status, out, err = usher("config", "check", "--file", path)
        refused(status, 1, out, err, path, ...)
    end

    it("names the nearest profile", function()
        local status, out, err = usher("node", "--id", "0", "--config", "stagin", "--file", config)
        refused(status, 2, out, err, "stagin", "staging")
    end)

    it("says how many nodes there are when --id is out of range", function()
        local status, out, err = usher("node", "--id", "7", "--file", config, "--data", dir .. "/none")
        refused(status, 2, out, err, "--id 7", "2 nodes", "0 to 1")
        assert.is_nil(io.open(dir .. "/none/lock"))
    end)

    it("refuses an id that is no number, and a missing one", function()
        local status, out, err = usher("node", "--id", "one", "--file", config)
        refused(status, 2, out, err, "--id one")
        status, out, err = usher("node", "--file", config)
        refused(status, 2, out, err, "--id N")
    end)

    it("says that a config file cannot be read, is no Lua, or loops", function()
        local status, out, err = usher("config", "check", "--file", dir .. "/none.lua")
        refused(status, 1, out, err, "none.lua")
        check("return {", "bad.lua:1")
        check("while true do end", "too long")
        check("return 5", "table of profiles")
        check("os.exit(0)", "os")
    end)

    it("gives the full path of a wrong key, type or address, and the nearest name", function()
        check('return { default = { nodes = { "localhost:6000" }, elction_timeout_ms = 5 } }',
            "default.elction_timeout_ms", "election_timeout_ms")
        check('return { default = { nodes = { "localhost" } } }', "default.nodes[1]", "host:port")
        check('return { default = { "localhost:99999" } }', "default[1]", "99999")
        check('return { default = { nodes = { "a:1", "a:1" } } }', "default.nodes[2]", "twice")
        check('return { default = { nodes = "a:1" } }', "default.nodes", "table")
        check('return { default = { nodes = {} } }', "default.nodes", "at least one")
        check('return { default = { nodes = { "a:1" }, users = { app = { access = "boss", password = "x" } } } }',
            "default.users.app.access", "boss")
        check('return { default = { nodes = { "a:1" }, users = { app = { access = "client" } } } }',
            "default.users.app.password", "missing")
        check('return { default = { nodes = { "a:1" }, election_timeout_ms = 1 } }',
            "default.election_timeout_ms", "between")
        check('return { default = { nodes = { "a:1" }, secret = env "USHER_NO_SUCH_VARIABLE" } }',
            "default.secret", "USHER_NO_SUCH_VARIABLE")
        check('return { a = { extends = "b" }, default = { "a:1" } }', "a.extends", "there is no profile `b`")
    end)

    it("lets profiles be computed, extended and read the environment", function()
        local path = dir .. "/good.lua"
        cluster.write(path, [[
            local list = {}
            for i = 0, 2 do list[#list + 1] = ("localhost:%d"):format(7000 + i) end
            return { default = list, fast = { extends = "slow", election_timeout_ms = 100 },
                     slow = { nodes = list, secret = env("HOME") } }]])
        local status, out = usher("config", "show", "fast", "--file", path, "-w", "json")
        assert.equal(0, status)
        assert.truthy(out:find('"election_timeout_ms":100', 1, true), out)
        assert.truthy(out:find('"localhost:7002"', 1, true), out)
        assert.is_nil(out:find(os.getenv("HOME"), 1, true))
    end)

    it("says that nobody listens, with status 1", function()
        local port = cluster.free_port()
        local status, out, err = usher("status", "--at", "localhost:" .. port)
        refused(status, 1, out, err, "localhost:" .. port, "usher node")
    end)

    it("shows its usage for nothing and for an unknown option", function()
        local status, out, err = usher()
        refused(status, 2, out, err, "usher node --id N")
        status, out, err = usher("--frobnicate")
        refused(status, 2, out, err, "--frobnicate")
    end)
end)

describe("bad requests to a running node", function()
    local c
    setup(function()
        c = cluster.new { n = 1 }
        c:must(1, "add-event", "1", '[{"row":"A","seats":4}]')
    end)
    teardown(function() c:close() end)

    local cases = {
        { { "frobnicate" }, 1, "NOTFOUND", "frobnicate" },
        { { "hodl", "1", "ann", "A1" }, 1, "NOTFOUND", "hold" },
        { { "hold" }, 2, "BADARG", "event", "hold EVENT CUSTOMER SEAT" },
        { { "hold", "1", "ann" }, 2, "BADARG", "seat" },
        { { "hold", "9", "ann", "A1" }, 1, "NOTFOUND", "9" },
        { { "hold", "1", "ann", "Z1" }, 1, "NOTFOUND", "Z1" },
        { { "hold", "1", "ann", "A1", "--tll", "5" }, 2, "BADARG", "--tll", "--ttl" },
        { { "hold", "1", "ann", "A1", "--ttl", "soon" }, 2, "BADARG", "ttl", "soon" },
        { { "hold", "1", "a b", "A1" }, 2, "BADARG", "customer" },
        { { "hold", "1", "ann", "A1", "A1" }, 2, "BADARG", "A1" },
        { { "confirm", "NOSUCHORDER" }, 1, "NOTFOUND", "NOSUCHORDER" },
        { { "add-event", "1", '[{"row":"A","seats":4}]' }, 1, "CONFLICT", "1" },
        { { "add-event", "2", "[{" }, 2, "BADARG" },
        { { "add-event", "2", '[{"row":"A","seats":-4}]' }, 2, "BADARG", "seats" },
        { { "seats", "none" }, 1, "NOTFOUND", "none" },
    }
    for _, case in ipairs(cases) do
        it("refuses `" .. table.concat(case[1], " ") .. "` in one sentence", function()
            local before = c:must(1, "status").last
            local status, out, err = c:run(table.unpack(case[1]))
            refused(status, case[2], out, err, table.unpack(case, 3))
            assert.equal(1, select(2, err:gsub("\n", "")))
            assert.same({}, c:must(1, "seats", "1", "--linearizable").taken)
            assert.truthy(c:must(1, "status").last <= before + 2) -- a remembered refusal at most
        end)
    end

    it("says that the port is in use", function()
        local status, out, err = process.run({ cluster.usher, "node", "--id", "0", "--file", c.config,
            "--data", c.dir .. "/other", "--no-console" })
        assert.equal(1, status)
        assert.equal("", out)
        assert.truthy(err:find("port " .. c.nodes[1].port .. " of localhost is in use", 1, true), err)
    end)

    it("says that the data directory is locked, and whose it is when it is another's", function()
        local other = c.dir .. "/other.lua"
        cluster.write(other, ('return { default = { "localhost:%d" } }'):format(cluster.free_port()))
        local data = c.dir .. "/default/" .. c.nodes[1].address
        local status, _, err = process.run { cluster.usher, "node", "--id", "0", "--file", other, "--data", data,
            "--no-console" }
        assert.equal(1, status)
        assert.truthy(err:find("in use by a running node", 1, true) and err:find(data, 1, true), err)
        assert.equal(0, c:stop(1))
        status, _, err = process.run { cluster.usher, "node", "--id", "0", "--file", other, "--data", data,
            "--no-console" }
        assert.equal(1, status)
        assert.truthy(err:find(c.nodes[1].address, 1, true), err)
        c:start(1)
        c:ready()
    end)
end)
