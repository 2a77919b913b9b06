--- Node scripts: hooks, timers, append, checks and commands, with real processes, across restarts and
--- failovers. One cluster serves all; its scripts write what they see into files of the nodes.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local json = require "cjson"

local function read(path)
    local file = io.open(path)
    if not file then return "" end
    local text = file:read("a")
    file:close()
    return text
end

--- The JSON lines of a file that scripts of node i wrote.
local function lines(c, i, name)
    local list = {}
    for line in read(("%s/default/%s/files/%s"):format(c.dir, c.nodes[i].address, name)):gmatch("([^\n]+)\n") do
        list[#list + 1] = json.decode(line)
    end
    return list
end

local function find(list, check)
    for _, item in ipairs(list) do
        if check(item) then return item end
    end
end

local HOOKS = [==[
local function note(file)
    return function(payload) append(file, json.encode(payload or json.list()) .. "\n") end
end
on("commit", note("each"), { where = "each" })
on("commit", note("mine"), { where = "leader" })
for _, name in ipairs { "leader", "start", "stop", "snapshot", "restore", "policy", "member" } do
    on(name, note(name))
end
every("50ms", function() append("ticks", "{}\n") sleep("120ms") append("ticks", "{}\n") end)
every("50ms", function() append("led", "{}\n") end, { where = "leader" })
on("commit", function(entry)
    for _, change in ipairs(entry.changes) do
        if change.seat == "A9" then error("no luck with A9") end
    end
end)
check("mood", function() return "warn", "so so", "smile" end)
check("broken", function() error("cannot tell") end)
local answer = 0
return {
    command {
        name = "greet", kind = "node", access = "public", summary = "Greets", example = "greet ann",
        args = { { "who", "string", complete = function() return { "ann", "anton", "bob" } end } },
        run = function(ctx, req)
            answer = answer + 1
            return { hello = req.who, n = answer, by = ctx.user.access }
        end,
    },
    command {
        name = "seen", kind = "node", access = "client", summary = "How many keys there are", example = "seen",
        run = function() return { n = #usher.keys { "own" } } end,
    },
    command {
        name = "keep", kind = "node", access = "client", summary = "Writes a key", example = "keep x",
        args = { { "key", "string" } }, run = function(_, req) return usher.set { req.key, "1" } end,
    },
}
]==]

describe("node scripts", function()
    local c
    local hooks
    setup(function()
        local dir = cluster.directory()
        hooks = dir .. "/hooks.lua"
        cluster.write(hooks, HOOKS)
        c = cluster.new { profile = ("scripts = { %q, %q }, script_file_bytes = 1048576, snapshot_bytes = 65536, " ..
            "script_memory_bytes = 16 << 20")
            :format(hooks, dir .. "/extra.lua"),
            start = false }
        c.extra = dir .. "/extra.lua"
        cluster.write(c.extra, "local x = 1 +\n")
        for i = 1, 3 do c:start(i) end
        c:ready()
        c:must(1, "add-event", "1", '[{"row":"A","seats":10}]')
    end)
    teardown(function()
        c:close()
        os.execute("rm -rf '" .. hooks:match("^(.*)/") .. "'")
    end)

    it("show what their client wrote, and their client what they wrote, on a follower too", function()
        local client = c:connect(c:follower())
        for i = 1, 20 do
            assert(client:call("set", "own" .. 2 * i, "1"))
            assert.equal(2 * i - 1, client:json("seen").n)
            assert(client:call("keep", "own" .. 2 * i + 1))
            assert.equal(2 * i, #client:json("keys", "own"))
        end
        client:close()
    end)

    local function eventually(what, check) return process.wait_for(what, 20, check) end

    it("reports a script that is broken and goes on without it", function()
        local list = c:must(1, "scripts")
        local good = find(list, function(s) return s.script == hooks end)
        assert.equal("running", good.state)
        assert.truthy(good.memory > 10000)
        assert.same({ "greet", "seen", "keep" }, good.commands)
        local bad = find(list, function(s) return s.script == c.extra end)
        assert.equal("failed", bad.state)
        assert.truthy(bad.last_error:find("extra.lua:", 1, true), bad.last_error)
        assert.truthy(c.nodes[1].process:output():find("extra.lua:", 1, true))
    end)

    it("says file, line, command and key of a wrong command, and goes on without the commands beside it", function()
        local function script(wrong)
            return ("-- two commands\nlocal good = command {\n    name = 'fine', kind = 'node', summary = 's', " ..
                "example = 'fine',\n    run = function() return 1 end,\n}\nreturn { good, command {\n    name =" ..
                " 'odd', kind = 'node', summary = 's', example = 'odd',\n    %s\n} }\n"):format(wrong)
        end
        local own
        finally(function()
            cluster.write(c.extra, "local x = 1 +\n")
            if own then own:close() end
        end)
        for wrong, message in pairs {
            ["sumary = 'x', run = function() end"] = "command odd: unknown key 'sumary', did you mean 'summary'?",
            ["args = { { 'n', 'int', hlp = 'x' } }, run = function() end"] =
                "command odd: argument 'n': unknown key 'hlp', did you mean 'help'?",
            ["args = {}"] = "command odd: `run` must be a function(ctx, req)",
        } do
            cluster.write(c.extra, script(wrong))
            local reply, why = c:call(1, "scripts", "reload")
            assert.is_nil(reply)
            assert.equal(("BADARG %s:6: %s; the scripts go on as they were"):format(c.extra, message), why)
        end
        own = cluster.new { n = 1, profile = ("scripts = { %q, %q }"):format(c.extra, hooks) }
        local row = find(own:must(1, "scripts"), function(s) return s.script == c.extra end)
        assert.equal("failed", row.state)
        assert.matches("extra.lua:6: command odd: ", row.last_error)
        assert.matches("extra.lua:6: command odd: .*; the node goes on without this script: correct it",
            own.nodes[1].process:output())
        assert.matches("^NOTFOUND", select(2, own:call(1, "fine")))
        assert.equal("ann", own:must(1, "greet", "ann").hello)
    end)

    it("runs the commands of a script, and completes their arguments", function()
        local answer = c:must(2, "greet", "ann")
        assert.equal("ann", answer.hello)
        assert.equal("admin", answer.by)
        local _, why = c:json(2, "greet")
        assert.truthy(why:find("^BADARG"), why)
    end)

    it("tells every node each commit with its transactions and changes, and the proposer once", function()
        local order = c:must(1, "hold", "1", "ann", "A1", "A2", "--request", "hooked-1")
        for i = 1, 3 do
            local entry = eventually("node " .. i .. " was told", function()
                return find(lines(c, i, "each"), function(e)
                    return e.changes[1] and e.changes[1].order == order.order
                end)
            end)
            assert.equal(order.index, entry.index)
            assert.truthy(entry.term > 0 and entry.time > 1.6e12)
            local tx = find(entry.transactions, function(t) return t.request == "hooked-1" end)
            assert.equal("hold", tx.command)
            assert.equal("", tx.user)
            assert.equal(0, tx.policy)
            assert.same({}, tx.emits)
            assert.same({ event = "1", seat = "A1", count = 1, from = "free", to = "held", order = order.order,
                customer = "ann" }, entry.changes[1])
            assert.equal("A2", entry.changes[2].seat)
        end
        local leader = c:leader()
        eventually("the leader was told", function()
            return find(lines(c, leader, "mine"), function(e) return e.index == order.index end)
        end)
        for i = 1, 3 do
            if i ~= leader then
                assert.is_nil(find(lines(c, i, "mine"), function(e) return e.index == order.index end))
            end
        end
        c:must(2, "release", order.order)
        eventually("the release was told with its reason", function()
            return find(lines(c, 3, "each"), function(e)
                return e.changes[1] and e.changes[1].reason == "released" and e.changes[1].to == "free"
            end)
        end)
        c:must(3, "block", "1", "A7", "--reason", "broken")
        eventually("the block was told with its reason", function()
            return find(lines(c, 1, "each"), function(e)
                return e.changes[1] and e.changes[1].to == "blocked" and e.changes[1].reason == "broken"
            end)
        end)
    end)

    it("counts and reports a handler that fails, which is called again all the same", function()
        c:must(1, "book", "1", "ann", "A9")
        c:must(1, "cancel-seat", "1", "A9")
        local row = eventually("both failures are counted", function()
            return find(c:must(1, "scripts", "hooks"), function(h) return h.errors >= 2 end)
        end)
        assert.equal("commit", row.hook)
        assert.truthy(row.last_error:find("hooks.lua:%d+: no luck with A9"), row.last_error)
        assert.truthy(row.at:find("hooks.lua:%d+$"), row.at)
        assert.equal(0, row.queued)
    end)

    it("runs timers, never over themselves, and on the leader alone where that is asked", function()
        local leader = c:leader()
        eventually("the leader's timer ran", function() return #lines(c, leader, "led") > 3 end)
        local other = leader % 3 + 1
        assert.equal(0, #lines(c, other, "led"))
        local slow = eventually("the slow timer was held back", function()
            return find(c:must(1, "scripts", "hooks"), function(h) return h.hook == "every" and h.skipped > 3 end)
        end)
        assert.truthy(slow.calls > 0)
    end)

    it("tells start, the leader and a snapshot", function()
        assert.equal(c.nodes[2].address, lines(c, 2, "start")[1].address)
        local leader = c:leader()
        for i = 1, 3 do
            local told = eventually("the leader was told", function()
                local list = lines(c, i, "leader")
                return list[#list]
            end)
            assert.equal(c.nodes[leader].address, told.leader)
            assert.equal(i == leader, told.self)
            assert.truthy(told.term >= 1)
        end
        local snapshot = c:must(2, "snapshot").snapshot
        eventually("the snapshot was told", function()
            return find(lines(c, 2, "snapshot"), function(s) return s.index == snapshot end)
        end)
    end)

    it("tells the policy that becomes active, with who and when", function()
        local status, out, err = c:run("policy", "deploy", "lua/policy/upgrade")
        assert.equal(0, status, out .. err)
        for i = 1, 3 do
            local told = eventually("node " .. i .. " was told", function()
                return find(lines(c, i, "policy"), function(p) return p.version >= 1 end)
            end)
            assert.equal(64, #told.hash)
            assert.truthy(told.time > 1.6e12)
            assert.equal(0, told.previous)
        end
    end)

    it("gives the doctor its checks, a broken one as an error", function()
        local list = c:must(1, "doctor")
        local text = json.encode(list)
        assert.truthy(text:find('"mood"', 1, true), text)
        assert.truthy(text:find("so so", 1, true))
        assert.truthy(text:find("cannot tell", 1, true))
    end)

    it("reloads all scripts, or none when one is broken, without a restart", function()
        local _, why = c:json(1, "scripts", "reload")
        assert.truthy(why:find("^BADARG.*extra.lua:%d+:.*go on as they were"), why)
        assert.equal(1, c:must(1, "greet", "ann").n)
        cluster.write(c.extra, [[on("commit", function() end)
            return command { name = "extra", kind = "node", args = {}, run = function() return "v1" end }]])
        c:must(1, "scripts", "reload")
        assert.equal("v1", c:must(1, "extra"))
        assert.equal(1, c:must(1, "greet", "ann").n) -- a new state
        cluster.write(c.extra, "on('commit', function() end)\nfor i = 1, 1e12 do end\n")
        _, why = c:json(1, "scripts", "reload")
        assert.truthy(why:find("extra.lua:2: computes for too long", 1, true), why)
        assert.equal("v1", c:must(1, "extra"))
        cluster.write(c.extra, "return command { name = 'hold', kind = 'node', args = {}, run = function() end }")
        _, why = c:json(1, "scripts", "reload")
        assert.truthy(why:find("'hold' is a transaction command", 1, true), why)
        assert.equal("v1", c:must(1, "extra"))
        assert.equal(2, c:must(1, "greet", "ann").n)
        cluster.write(c.extra, "local x")
        c:must(1, "scripts", "reload")
        _, why = c:json(1, "extra")
        assert.truthy(why:find("^NOTFOUND"), why)
        c:must(1, "book", "1", "ann", "A3")
        eventually("the new handlers run", function()
            return find(lines(c, 1, "each"), function(e) return e.changes[1] and e.changes[1].seat == "A3" end)
        end)
    end)

    it("leaves out what a slow handler cannot take, and tells it how much", function()
        cluster.write(c.extra, [[
            local first = true
            on("commit", function(entry)
                if first then
                    first = false
                    while not usher.call("get", "go") do sleep("50ms") end
                end
                if entry.missed then append("missed", json.encode { missed = entry.missed } .. "\n") end
            end)]])
        c:must(1, "scripts", "reload")
        local client = c:connect(1, 60)
        -- one commit each: the answer is awaited before the next request goes
        for i = 1, 1300 do assert(client:call("set", "k", tostring(i))) end
        client:close()
        local row = eventually("the queue ran over", function()
            return find(c:must(1, "scripts", "hooks"), function(h) return h.missed > 100 end)
        end)
        c:must(1, "set", "go", "true")
        eventually("it was told how many it missed", function()
            if #lines(c, 1, "missed") == 0 then c:must(1, "set", "k", '"again"') end
            return find(lines(c, 1, "missed"), function(m) return m.missed >= row.missed end)
        end)
        cluster.write(c.extra, "local x")
        c:must(1, "scripts", "reload")
    end)

    it("keeps append inside the node's own files, and rotates them", function()
        cluster.write(c.extra, [[return command { name = "try", kind = "node", args = { { "name", "string" } },
            run = function(_, req) return { pcall(append, req.name, ("x"):rep(600000) .. "\n") } end }]])
        c:must(1, "scripts", "reload")
        for _, name in ipairs { "../x", "a/b", "/etc/x", ".x", "..", "", "a\\b" } do
            local answer = c:must(1, "try", "--", name)
            assert.is_false(answer[1], name)
            assert.truthy(answer[2]:find("plain file name", 1, true), answer[2])
        end
        for _ = 1, 3 do assert.is_true(c:must(1, "try", "big.log")[1]) end
        local base = ("%s/default/%s/files/big.log"):format(c.dir, c.nodes[1].address)
        assert.equal(600001, #read(base))
        assert.equal(600001, #read(base .. ".1"))
        assert.equal(600001, #read(base .. ".2"))
        cluster.write(c.extra, "local x")
        c:must(1, "scripts", "reload")
    end)

    it("says what does not belong where", function()
        local function fails(text, wanted)
            cluster.write(c.extra, text)
            local _, why = c:json(1, "scripts", "reload")
            assert.truthy(why and why:find(wanted, 1, true), tostring(why))
        end
        fails("on('comit', print)", "there is no hook 'comit'")
        fails("usher.status()", "while a script is loaded")
        fails("every('1x', print)", "every takes seconds")
        fails("return 7", "returns a number")
        fails("local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end", "extra.lua")
        cluster.write(c.extra, "local x")
        c:must(1, "scripts", "reload")
        local _, _, err = c:run("console", "-c", "on('commit', print)")
        assert.truthy(err:find("belongs into a node script", 1, true), err)
        local _, out = c:run("console", "-w", "json", "-c", "on('leader')")
        assert.truthy(out:find('"hook":"leader"', 1, true), out)
    end)

    it("tells stop at the end, and after a restart nothing that had been told before", function()
        local node = c:follower()
        local order = c:must(1, "book", "1", "ann", "A4")
        eventually("all were told", function()
            return find(lines(c, node, "each"), function(e) return e.index == order.index end)
        end)
        assert.equal(0, c:stop(node))
        assert.equal(1, #lines(c, node, "stop"))
        local before = #lines(c, node, "each")
        local other = node % 3 + 1
        local later = c:must(other, "book", "1", "ann", "A5")
        c:start(node)
        c:ready()
        eventually("what came meanwhile was told", function()
            return find(lines(c, node, "each"), function(e) return e.index == later.index end)
        end)
        local seen = {}
        for n, entry in ipairs(lines(c, node, "each")) do
            assert.is_nil(seen[entry.index],
                ("entry %d told twice (line %d of %d before)"):format(entry.index, n, before))
            seen[entry.index] = true
        end
        assert.equal(2, #lines(c, node, "start"))
    end)

    it("tells a node that fell behind that its state was replaced, and up to where", function()
        local node = c:follower()
        c:stop(node)
        local other = node % 3 + 1
        local text = json.encode(("x"):rep(4000))
        local client = c:connect(other)
        for i = 1, 60 do assert(client:call("set", "fill" .. i % 5, text)) end
        client:close()
        for i = 1, 3 do if i ~= node then c:must(i, "snapshot") end end
        local last = c:must(other, "set", "fill", text).index
        c:start(node)
        c:ready()
        local told = eventually("the restore was told", function() return lines(c, node, "restore")[1] end)
        assert.truthy(told.index > 50 and told.index <= last)
        for _, entry in ipairs(lines(c, node, "each")) do
            assert.is_true(entry.index > told.index or entry.index < told.index - 20)
        end
    end)

    it("tells the new leader, which runs the leader's hooks and timers after a failover", function()
        local old = c:leader()
        c:kill(old)
        local new = c:leader(20)
        local order = c:must(new, "book", "1", "ann", "A6")
        eventually("the new leader ran its own", function()
            return find(lines(c, new, "mine"), function(e) return e.index == order.index end)
        end)
        eventually("the new leader was told of itself", function()
            local list = lines(c, new, "leader")
            return list[#list].self == true
        end)
        eventually("its timer runs", function() return #lines(c, new, "led") > 2 end)
        c:start(old)
        c:ready()
        local third = 6 - old - new
        for _, i in ipairs { old, third } do -- at most once in the cluster, at least once on every node
            assert.is_nil(find(lines(c, i, "mine"), function(e) return e.index == order.index end))
            eventually("node " .. i .. " was told", function()
                return find(lines(c, i, "each"), function(e) return e.index == order.index end)
            end)
        end
    end)

    it("tells who joins and leaves", function()
        local leader = c:leader()
        local gone = leader % 3 + 1
        local status, out, err = c:run("remove-node", c.nodes[gone].address, "--yes")
        assert.equal(0, status, out .. err)
        local told = eventually("the leader was told", function()
            return find(lines(c, leader, "member"), function(m) return m.change == "removed" end)
        end)
        assert.equal(c.nodes[gone].address, told.address)
        assert.equal(2, told.voters)
    end)
end)

describe("a node that stops while its scripts write", function()
    local APPENDS = [[
        for i = 1, 8 do
            on("start", function() while true do append("busy" .. i, ("x"):rep(1 << 16)) end end)
        end
        on("stop", function() append("stopped", "yes") end)
    ]]

    it("finishes what is on its way to the disk, and leaks nothing", function()
        local dir = cluster.directory()
        cluster.write(dir .. "/busy.lua", APPENDS)
        local c = cluster.new { n = 1, profile = ("scripts = { %q }"):format(dir .. "/busy.lua") }
        finally(function()
            c:close() -- a sanitizer that spoke fails here
            os.execute("rm -rf '" .. dir .. "'")
        end)
        local files = ("%s/default/%s/files/"):format(c.dir, c.nodes[1].address)
        for _ = 1, 3 do
            process.wait_for("the scripts write", 20, function() return #read(files .. "busy8") > 0 end)
            assert.equal(0, c:stop(1))
            assert.equal("yes", read(files .. "stopped"))
            for i = 1, 8 do assert.equal(0, #read(files .. "busy" .. i) % (1 << 16)) end
            os.execute(("rm -rf '%s'"):format(files))
            c:start(1)
            c:ready()
        end
    end)
end)
