--- Bad input of every kind: one clear sentence, exit status 1 or 2, nothing changed.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local json = require "cjson"

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
        check("local s = 'x' while true do s = s .. s end", "not enough memory")
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

    it("looks at what the profile names: users' hashes, policy, scripts, the folder of Lua files", function()
        local function checked(keys, ...)
            check('return { default = { nodes = { "a:1" }, ' .. keys .. ' } }', ...)
        end
        checked('users = { app = { password = "pbkdf2-sha256$1$zz$00" } }', "default.users.app", "hash")
        checked('policy = "no/such.lua"', "default.policy", "no/such.lua")
        cluster.write(dir .. "/policy.lua", "return policy { name = 'x', rulez = {} }")
        checked(('policy = %q'):format(dir .. "/policy.lua"), "default.policy", "rulez")
        checked('scripts = { "lua/hooks/mirror.lua", "no/such.lua" }', "default.scripts[2]", "no/such.lua")
        checked('lua = "no/such"', "default.lua", "no/such")
    end)

    it("shows every key of a profile but what is secret", function()
        local path = dir .. "/long.lua"
        cluster.write(path, [[return { default = { nodes = { "a:1" }, data = "d", policy = "p", lua = "l",
            scripts = { "s" }, secret = "hush", users = { app = { password = "hush", access = "admin" } },
            election_timeout_ms = 700, snapshot_bytes = 70000, script_memory_bytes = 1048577,
            script_instructions = 1000001, script_file_bytes = 4097 } }]])
        local status, out, err = usher("config", "show", "--file", path, "-w", "json")
        assert.equal(0, status, err)
        assert.is_nil(out:find("hush", 1, true))
        local shown = json.decode(out)
        assert.same({ "a:1", "d", "p", "l", "s", true, "admin", 700, 70000, 1048577, 1000001, 4097 },
            { shown.nodes[1], shown.data, shown.policy, shown.lua, shown.scripts[1], shown.secret,
              shown.users.app.access, shown.election_timeout_ms, shown.snapshot_bytes, shown.script_memory_bytes,
              shown.script_instructions, shown.script_file_bytes })
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

    it("misses a variable of the environment only in the profile in use", function()
        local path = dir .. "/unset.lua"
        for key, value in pairs {
            ["nodes[1]"] = 'nodes = { env "USHER_UNSET" }', ["scripts[2]"] = 'scripts = { "a", env "USHER_UNSET" }',
            ["users.a.roles[1]"] = 'users = { a = { password = "x", roles = { env "USHER_UNSET" } } }',
            data = 'data = env "USHER_UNSET" .. "/usher"', secret = 'secret = "a" .. env "USHER_UNSET"',
            extends = 'extends = env "USHER_UNSET"',
        } do
            cluster.write(path, ('return { default = { "a:1" }, prod = { %s%s } }'):format(value,
                value:find("nodes") and "" or ', nodes = { "b:1" }'))
            local status, out, err = usher("config", "check", "--file", path)
            assert.equal(0, status, out .. err)
            status, out, err = usher("config", "check", "prod", "--file", path)
            refused(status, 1, out, err, "prod." .. key .. ": ", "the environment variable USHER_UNSET is not set")
        end
        cluster.write(path, 'return { default = { "a:1" }, prod = { env "USHER_UNSET" } }')
        local status, out, err = usher("config", "check", "prod", "--file", path)
        refused(status, 1, out, err, "prod.nodes[1]", "USHER_UNSET")
        assert.equal(0, (usher("config", "check", "--file", path)))
    end)

    it("says that nobody listens, with status 1", function()
        local port = cluster.free_port()
        local status, out, err = usher("status", "--at", "localhost:" .. port)
        refused(status, 1, out, err, "NOTREADY", "localhost:" .. port, "usher node")
        status, out, err = usher("help", "--at", "localhost:" .. port)
        refused(status, 1, out, err, "localhost:" .. port, "usher --help")
    end)

    it("says in one sentence what a program does not take, and shows its own usage", function()
        for _, case in ipairs {
            { "usher node --id N", "node", "--id" }, { "usher node --id N", "node", "now" },
            { "usher node --id N", "node" }, { "usher console [ADDR]", "console", "localhost:1", "x" },
            { "usher config check|show", "config", "chek" }, { "usher config check|show", "config", "check", "a", "b" },
            { "usher restore FILE", "restore" }, { "usher recover DATADIR", "recover", "--now" },
            { "usher check DATADIR", "check" }, { "usher version", "version", "now" },
            { "usher run", "run", "--at" }, { "usher run", "run", "--at", "localhost:1" },
            { "usher bench", "bench", "--now" },
            { "no command stands behind --at", "--at", "localhost:1" }, { "unknown option --", "--", "seats", "1" },
            { "usher demo", "demo", "now" }, { "usher policy test", "policy" },
        } do
            local status, out, err = usher(table.unpack(case, 2))
            refused(status, 2, out, err, case[1])
            local _, lines = err:gsub("\n", "")
            assert.truthy(lines <= 9, err)
        end
    end)

    it("shows the usage of a program that is asked for it", function()
        for word, text in pairs {
            run = "usher run SCRIPT.lua", node = "usher node --id N", console = "usher console [ADDR]",
            policy = "usher policy deploy PATH", bench = "usher bench [--mode", config = "usher config check|show",
            restore = "usher restore FILE", recover = "usher recover DATADIR", check = "usher check DATADIR",
            demo = "usher demo", version = "usher version",
        } do
            for _, help in ipairs { "--help", "-h" } do
                local status, out, err = usher(word, help)
                assert.equal(0, status, word .. ": " .. err)
                assert.equal("", err)
                assert.truthy(out:find(text, 1, true), word .. ": " .. out)
            end
        end
        local status, out, err = usher("policy", "test", "--help")
        assert.same({ 0, "" }, { status, err })
        assert.truthy(out:find("usher policy test PATH [--customers N]", 1, true), out)
    end)

    it("takes a program's options as one word, too, before and behind the program's name", function()
        local port = cluster.free_port()
        local at = "--at=localhost:" .. port
        for _, words in ipairs { { "status", at }, { at, "status" }, { at, "--user=ann", "-w", "json", "status" },
            { "console", "--config=default", at, "-c", "status" }, { "run", at, config } } do
            local status, out, err = process.run({ cluster.usher, table.unpack(words) },
                { env = { USHER_PASSWORD = "x" }, seconds = 20 })
            refused(status, 1, out, err, "localhost:" .. port)
        end
        local status, out, err = usher("config", "show", "--file=" .. config, "staging")
        assert.equal(0, status, err)
        assert.truthy(out:find("localhost:6100", 1, true), out)
        status, out, err = usher("node", "--id=7", "--file=" .. config, "--data=" .. dir .. "/none")
        refused(status, 2, out, err, "--id 7", "2 nodes")
        status, out, err = usher(at)
        refused(status, 2, out, err, "no command stands behind")
    end)

    it("says that a data directory is a file, or not ours to make", function()
        cluster.write(dir .. "/file", "")
        for _, path in ipairs { dir .. "/file", dir .. "/file/below" } do
            local status, out, err = usher("node", "--id", "0", "--file", config, "--data", path, "--no-console")
            refused(status, 1, out, err, "/file is a file, not a directory")
        end
        local status, out, err = usher("node", "--id", "0", "--file", config, "--data", "/proc/usher", "--no-console")
        refused(status, 1, out, err, "/proc/usher")
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
