--- Who may do what, over every command and every surface; passwords and their hashes.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local terminal = require "spec.support.terminal"
local json = require "cjson"

--- The lowest level that may use each command (docs/lua.md, 2). A command that is not here fails the
--- spec: whoever adds one says here who may use it.
local LEVEL = {
    public = [[events event seats help commands whoami exit history complete complete-argument watch
        get-showtimes get-state]],
    client = [[hold book best extend confirm release cancel cancel-seat move swap split order explain wait unwait
        reserve-seat]],
    operator = [[add-chart charts add-event set-event open-event close-event remove-event block unblock orders forget
        get set keys waits status nodes leader is-leader health doctor latency config scripts ps kill log monitor
        add-showtime remove-showtime get-logs get-raw-logs get-node-status]],
    admin = [[add-node remove-node replace-node transfer-leader drain snapshot backup backup-chunk policy policies
        deploy-policy rollback-policy]],
}
local ORDER = { public = 0, client = 1, operator = 2, admin = 3 }
local USERS = { { nil, nil, "public" }, { "app", "app secret", "client" }, { "desk", "desk-secret", "operator" },
    { "boss", "boss-secret", "admin" } }

-- What Tab would offer to a client.
local function items(client, line)
    local list = {}
    for i, item in ipairs(client:json("complete", line).items) do list[i] = item.text end
    return list
end

-- Of a cluster with the users boss (admin) and desk (operator): their connections, and one of nobody's.
local function people(own)
    local boss, desk, anybody = own:connect(1, 30), own:connect(1, 30), own:connect(1, 30)
    assert(boss:call("AUTH", "boss", "boss-secret"))
    assert(desk:call("AUTH", "desk", "desk-secret"))
    return boss, desk, anybody
end

describe("access", function()
    local c, hash
    setup(function()
        local status
        status, hash = process.run({ cluster.usher, "config", "password" }, { input = "boss-secret\n" })
        assert.equal(0, status)
        hash = hash:gsub("\n", "")
        c = cluster.new { n = 1, profile = ([[users = {
            app = { password = "app secret", access = "client" },
            desk = { password = "desk-secret", access = "operator", roles = { "house" } },
            boss = { password = %q, access = "admin" } }]]):format(hash) }
        local client = c:connect(1, 30) -- a password costs its time, more so on a busy machine
        assert(client:call("AUTH", "boss", "boss-secret"))
        assert(client:call("add-event", "1", '[{"row":"A","seats":10}]'))
        client:close()
    end)
    teardown(function() c:close() end)

    local function login(user, how)
        local client = c:connect(1, 30)
        if user[1] and how == "HELLO" then
            assert(client:call("HELLO", "2", "AUTH", user[1], user[2]))
        elseif user[1] then
            assert.equal("OK", client:call("AUTH", user[1], user[2]))
        end
        return client
    end

    local function usher(user, words, more)
        local env = { USHER_ADDR = c:addresses(), USHER_PASSWORD = user[2] or "" }
        for name, value in pairs(more or {}) do env[name] = value end
        local argv = { cluster.usher }
        if user[1] then argv[2], argv[3] = "--user", user[1] end
        for _, word in ipairs(words) do argv[#argv + 1] = word end
        return process.run(argv, { env = env })
    end

    it("names who may use each command", function()
        local level = {}
        for name, words in pairs(LEVEL) do
            for word in words:gmatch("%S+") do level[word] = name end
        end
        local client = login(USERS[4])
        for _, definition in ipairs(client:json("commands")) do
            assert.equal(level[definition.name], definition.access, definition.name)
        end
        client:close()
    end)

    it("lets every user do what its level may, and refuses the rest, over RESP", function()
        local list = c:must(1, "commands")
        assert.truthy(#list > 40)
        for i, user in ipairs(USERS) do
            local client = login(user, i % 2 == 0 and "HELLO" or "AUTH")
            for _, definition in ipairs(list) do
                -- an option that nothing knows: whoever may use the command gets no further than that
                local answer, why = client:call(definition.name, "--no-such-option")
                local place = ("%s for %s: %s"):format(definition.name, user[1] or "nobody", tostring(why or answer))
                assert.is_nil(answer, place)
                if ORDER[user[3]] >= ORDER[definition.access] then
                    assert.truthy(why:find("^BADARG"), place)
                elseif user[1] then
                    assert.truthy(why:find("^NOPERM"), place)
                    assert.truthy(why:find(definition.access, 1, true), place)
                else
                    assert.truthy(why:find("^NOAUTH"), place)
                end
            end
            client:close()
        end
    end)

    it("holds for one-shots, the console and scripts as well", function()
        local out, err, status
        for _, user in ipairs(USERS) do
            status, out, err = usher(user, { "whoami", "-w", "json" })
            assert.equal(0, status, err)
            local who = json.decode(out)
            assert.equal(user[3], who.access)
            assert.equal(user[1] or "", who.name)
            local _
            status, _, err = usher(user, { "drain", "--no-such-option" })
            assert.truthy(err:find(user[3] == "admin" and "BADARG" or user[1] and "NOPERM" or "NOAUTH"), err)
            assert.truthy(status ~= 0)
            local may_console = ORDER[user[3]] >= ORDER.operator
            status, _, err = usher(user, { "console", "-c", "whoami" })
            assert.equal(may_console and 0 or 1, status, err)
            cluster.write(c.dir .. "/who.lua", "return usher.call('policies', '--no-such-option')")
            status, _, err = usher(user, { "run", c.dir .. "/who.lua" })
            assert.equal(1, status)
            assert.truthy(err:find(not may_console and (user[1] and "NOPERM" or "NOAUTH") or
                user[3] == "admin" and "BADARG" or "NOPERM"), err)
        end
        status, out = usher(USERS[3], { "console", "-w", "json", "-c", "whoami" })
        assert.equal(0, status)
        assert.same({ "house" }, json.decode(out).roles)
    end)

    it("gives a node command of a script the rights of its caller", function()
        local client = login(USERS[2])
        local _, why = client:call("get-state", "1")
        assert.is_nil(why)
        _, why = client:call("add-showtime", "7", "x")
        assert.truthy(why:find("^NOPERM"), why)
        assert(client:call("reserve-seat", "1", "ann", "A1"))
        client:close()
        client = login(USERS[1])
        _, why = client:call("reserve-seat", "1", "ann", "A2")
        assert.truthy(why:find("^NOAUTH"), why)
        client:close()
    end)

    it("tells of the cluster by INFO to who may see its leader and nodes", function()
        for _, user in ipairs(USERS) do
            local client = login(user)
            local info = assert(client:call("INFO"))
            assert.truthy(info:find("usher_version", 1, true))
            assert.equal(ORDER[user[3]] >= ORDER.operator, info:find("leader:", 1, true) ~= nil, user[3])
            client:close()
        end
    end)

    it("completes as whoever asks, over RESP and in a console", function()
        local dir = cluster.directory()
        cluster.write(dir .. "/guests.lua", [[
            local function guests(ctx)
                local list = { "as-" .. ctx.user.access }
                for _, order in ipairs(usher.orders() or {}) do list[#list + 1] = order.customer end
                return list
            end
            local function guest(name, access)
                return command { name = name, kind = "node", access = access,
                    summary = "Greets", example = name .. " x", args = { { "who", "string", complete = guests } },
                    run = function() return usher.orders() end }
            end
            return { guest("vip", "admin"), guest("hello", "public"),
                command { name = "ping-node", kind = "node", access = "public", summary = "Pings",
                    example = "ping-node x", args = { { "address", "node" } }, run = function() return true end } }
        ]])
        local own = cluster.new { n = 1, profile = ([[scripts = { %q }, users = {
            desk = { password = "desk-secret", access = "operator" },
            boss = { password = "boss-secret", access = "admin" } }]]):format(dir .. "/guests.lua") }
        finally(function() own:close() end)
        local boss, desk, anybody = people(own)
        assert(boss:call("add-event", "1", '[{"row":"A","seats":10}]'))
        assert(boss:call("book", "1", "famous-guest", "A1"))
        local address = own.nodes[1].address
        assert.same({ "as-admin", "famous-guest" }, items(boss, "vip "))
        assert.same({ address }, items(boss, "remove-node "))
        assert.same({ "as-operator", "famous-guest" }, items(desk, "hello "))
        assert.same({ address }, items(desk, "ping-node "))
        assert.same({ "as-public" }, items(anybody, "hello "))
        for _, line in ipairs { "vip ", "ping-node ", "remove-node ", "add-node ", "hold 1 " } do
            assert.same({}, items(anybody, line), line)
        end
        assert.same({}, items(desk, "vip "))
        assert.equal("OK", desk:call("USHER.SESSION"))
        local answer = desk:call("USHER.COMPLETE", "vip ") -- "value", its JSON, columns; then "done"
        assert.same({}, json.decode(answer[2]).items)
        for _, client in ipairs { boss, desk, anybody } do client:close() end
    end)

    it("completes the arguments of a policy's command from a read on the node asked", function()
        local own = cluster.new { n = 1, profile = [[users = {
            desk = { password = "desk-secret", access = "operator" },
            boss = { password = "boss-secret", access = "admin" } }]] }
        finally(function() own:close() end)
        local boss, desk, anybody = people(own)
        assert(boss:call("deploy-policy", [[
            local function guests(tx, prefix)
                local list = { "p-" .. prefix }
                for _, order in ipairs(tx:orders { event = "1" }) do list[#list + 1] = order.customer end
                return list
            end
            local function writes(tx)
                tx:set("k", 1)
                return { "written" }
            end
            return policy { name = "guests", commands = {
                command { name = "greet", access = "operator", args = { { "who", "string", complete = guests } },
                    options = { tone = { "string", complete = function() return { "warm", "cold" } end },
                        wrong = { "string", complete = writes } },
                    run = function(_, req) return req.who end } } }]]))
        assert(boss:call("add-event", "1", '[{"row":"A","seats":10}]'))
        assert(boss:call("book", "1", "famous-guest", "A1"))
        assert.same({ "famous-guest" }, items(desk, "greet f"))
        assert.same({ "p-p" }, items(desk, "greet p"))
        assert.same({ "warm" }, items(boss, "greet x --tone w"))
        assert.same({}, items(boss, "greet x --wrong w"))
        assert.is_nil((boss:call("get", "k")))
        assert.same({}, items(anybody, "greet f"))
        local reply, why = anybody:call("complete-argument", "greet", "who", "f")
        assert.is_nil(reply)
        assert.truthy(why:find("^NOPERM"), why)
        reply, why = boss:call("complete-argument", "greet", "wrong", "w")
        assert.is_nil(reply)
        assert.truthy(why:find("^INTERNAL"), why)
        for _, client in ipairs { boss, desk, anybody } do client:close() end
    end)

    it("shows no customer, order or code to whoever is below operator", function()
        local client = login(USERS[2])
        local order = client:json("hold", "1", "secret-customer", "A5", "--code", "secret-code")
        client:close()
        local anybody = login(USERS[1])
        assert(anybody:call("SUBSCRIBE", "event:1"))
        local other = login(USERS[2])
        assert(other:call("confirm", order.order))
        local text = json.encode(anybody:receive(10))
        assert.truthy(text:find("A5", 1, true), text)
        anybody:close()
        for _, words in ipairs { { "seats", "1" }, { "seats", "1", "--full" }, { "event", "1" }, { "events" },
            { "get-state" }, { "get-showtimes" } } do
            local reader = login(USERS[1])
            text = text .. assert(reader:call(table.unpack(words)))
            reader:close()
        end
        for _, secret in ipairs { "secret-customer", "secret-code", order.order } do
            assert.is_nil(text:find(secret, 1, true), secret)
        end
        for _, words in ipairs { { "log" }, { "monitor" }, { "orders" }, { "get-logs" }, { "get-raw-logs" } } do
            local _, why = other:call(table.unpack(words))
            assert.truthy(why:find("^NOPERM"), why)
        end
        other:close()
        local log = c.nodes[1].process:output()
        for _, secret in ipairs { "secret-customer", "secret-code", order.order, "boss-secret", "desk-secret",
            "app secret" } do
            assert.is_nil(log:find(secret, 1, true), secret)
        end
    end)

    it("takes the password from a file, and asks nobody where there is no terminal", function()
        cluster.write(c.dir .. "/password", "desk-secret\n")
        local status, out, err, _
        status, out, err = usher({ "desk" }, { "whoami", "-w", "json" },
            { USHER_PASSWORD_FILE = c.dir .. "/password" })
        assert.equal(0, status, err)
        assert.equal("desk", json.decode(out).name)
        status, _, err = usher({ "desk" }, { "whoami" }, { USHER_PASSWORD_FILE = c.dir .. "/nowhere" })
        assert.equal(2, status)
        assert.truthy(err:find("cannot read the password file", 1, true), err)
        status, _, err = usher({ "desk", "wrong" }, { "whoami" })
        assert.equal(1, status)
        assert.truthy(err:find("^NOAUTH wrong user name or password"), err)
    end)

    it("needs a user for a password: without --user the variables say nothing", function()
        local alone = cluster.new { n = 1 }
        for _, env in ipairs { { USHER_PASSWORD = "left-over" }, { USHER_PASSWORD_FILE = c.dir .. "/nowhere" } } do
            local status, out, err = usher({}, { "whoami", "-w", "json" }, env)
            assert.equal(0, status, err)
            assert.equal("public", json.decode(out).access)
            env.USHER_ADDR = alone:addresses()
            status, out, err = usher({}, { "whoami", "-w", "json" }, env)
            assert.equal(0, status, err)
            assert.equal("admin", json.decode(out).access)
        end
        alone:close()
    end)

    it("asks for the password at a terminal without showing it", function()
        local screen = terminal.start({ cluster.usher, "--user", "desk", "whoami" },
            { dir = c.dir, env = { USHER_ADDR = c:addresses() } })
        finally(function() screen:close() end) -- also when something is not as expected
        screen:wait("password of desk:")
        screen:line("desk-secret")
        screen:wait("[ended 0]")
        assert.is_nil(screen:screen(true):find("secret", 1, true), screen:screen(true))
        assert.truthy(screen:screen(true):find("operator", 1, true), screen:screen(true))
        screen:close()
        screen = terminal.start({ cluster.usher, "config", "password" }, { dir = c.dir })
        screen:wait("new password:")
        screen:line("one-secret")
        screen:wait("once more:")
        screen:line("other-secret")
        screen:wait("[ended 1]")
        assert.truthy(screen:screen(true):find("the two passwords differ", 1, true), screen:screen(true))
        assert.is_nil(screen:screen(true):find("secret", 1, true), screen:screen(true))
    end)

    it("says the same of an unknown user and a wrong password, and ends after five", function()
        local client = c:connect(1)
        local _, unknown = client:call("AUTH", "nobody", "x")
        local _, wrong = client:call("AUTH", "desk", "x")
        assert.equal(unknown, wrong)
        for _ = 1, 3 do client:call("AUTH", "app", "x") end
        local reply = client:call("PING")
        assert.is_nil(reply)
        client:close()
    end)

    it("goes on serving under a flood of logins, each of which costs a quarter of a second", function()
        local flood = {}
        for i = 1, 80 do
            flood[i] = c:connect(1)
            flood[i]:send("AUTH", "boss", "wrong" .. i)
        end
        local client = login(USERS[2]) -- a quick login does not wait for slow ones
        for i = 1, 20 do
            assert(client:call("hold", "1", "flood" .. i, "A7"))
            assert(client:call("cancel-seat", "1", "A7", "--customer", "flood" .. i))
        end
        client:close()
        local busy = 0
        for _, one in ipairs(flood) do
            local ok, why = one:receive(0.01)
            if not ok and why and why:find("^BUSY") then busy = busy + 1 end
            one:close()
        end
        assert.truthy(busy > 0, "a bounded number of logins waits")
    end)

    it("makes slow hashes with fresh salts, and refuses what is no password", function()
        assert.truthy(hash:find("^pbkdf2%-sha256%$%d%d%d%d%d%d%$%x+%$%x+$"), hash)
        local _, again = process.run({ cluster.usher, "config", "password" }, { input = "boss-secret\n" })
        assert.not_equal(hash, again:gsub("\n", ""))
        local status, _, err = process.run({ cluster.usher, "config", "password" }, { input = "\n" })
        assert.equal(1, status)
        assert.truthy(err:find("the password is empty", 1, true), err)
        status, _, err = process.run({ cluster.usher, "config", "password" }, { input = ("x"):rep(5000) })
        assert.equal(1, status)
        assert.truthy(err:find("at most 1024 bytes", 1, true), err)
    end)

    it("without users serves this machine alone and says so at the start", function()
        local alone = cluster.new { n = 1 }
        local log = alone.nodes[1].process:output()
        assert.truthy(log:find("only this machine is served, and everybody is admin", 1, true), log)
        assert.equal("admin", alone:must(1, "whoami").access)
        local _, why = alone:call(1, "AUTH", "x", "y")
        assert.truthy(why:find("this node has no users", 1, true), why)
        alone:close()
        for _, case in ipairs {
            { 'secret = "s"', "the profile has no users: only this machine is served, and everybody is admin" },
            { 'users = { app = { password = "x", access = "client" } }',
                "the profile has no secret: only this machine is served\n" },
        } do
            local half = cluster.new { n = 1, profile = case[1], start = false }
            half:start(1)
            process.wait_for("it says so", 20, function()
                return half.nodes[1].process:output():find(case[2], 1, true)
            end)
            half:close()
        end
    end)
end)
