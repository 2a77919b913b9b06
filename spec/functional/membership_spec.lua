--- Changes of the membership with real processes: every mistake has a clear end, nobody who
--- waits waits for ever, no booking is lost, and the next change is always taken.
local cluster = require "spec.support.cluster"
local members = require "spec.support.members"
local process = require "spec.support.process"
local socket = require "socket"

--- A follower is killed, misses entries that a snapshot takes away, comes back and catches up. Needs a
--- load on the cluster. Returns the node's number.
local function miss_the_log(c)
    local away = c:follower()
    local seen = c:must(away, "status").last
    c:kill(away)
    process.wait_for("the log is gone", 60, function()
        return c:must(c:leader(), "status").snapshot > seen + 50
    end)
    c:start(away)
    process.wait_for("it has caught up", 60, function()
        local status, ahead = c:json(away, "status"), c:must(c:leader(), "status")
        return status and status.applied + 100 >= ahead.applied, status and status.applied
    end)
    return away
end

describe("a cluster that is asked for the wrong thing", function()
    local c, last
    setup(function()
        c = cluster.new()
        last = c:must(1, "status").last
    end)
    teardown(function() c:close() end)

    local function refused(code, pattern, ...)
        local reply, why = members.ask(c, c:follower(), ...)
        assert.is_nil(reply)
        assert.truthy(tostring(why):find("^" .. code .. " "), why)
        assert.truthy(why:find(pattern), why)
        assert.truthy(why:find("nothing was changed", 1, true), why)
    end

    it("refuses what is no address, at once", function()
        refused("BADARG", "no address", "add-node", "foo")
        refused("BADARG", "no address", "add-node", "localhost:99999")
        refused("BADARG", "no address", "remove-node", ":6000")
    end)

    it("asks for the address that is missing", function()
        local reply, why = members.ask(c, 1, "add-node")
        assert.is_nil(reply)
        assert.truthy(why:find("^BADARG add%-node needs"), why)
    end)

    it("refuses members, under every spelling, and itself", function()
        refused("CONFLICT", "member already", "add-node", c.nodes[1].address)
        refused("CONFLICT", "member already", "add-node", c.nodes[2].address)
        refused("CONFLICT", "member already", "add-node", "127.0.0.1:" .. c.nodes[1].port)
        refused("CONFLICT", "member already", "add-node", "127.0.0.1:" .. c.nodes[c:leader()].port)
        refused("CONFLICT", "member already", "add-node", "LOCALHOST:" .. c.nodes[1].port)
        refused("BADARG", "no address", "add-node", "localhost:0" .. c.nodes[1].port)
        refused("CONFLICT", "member already", "replace-node", c.nodes[1].address, "127.0.0.1:" .. c.nodes[2].port)
        refused("CONFLICT", "member already", "replace-node", c.nodes[1].address, c.nodes[2].address)
    end)

    it("refuses to remove or replace a stranger, and names the members", function()
        refused("NOTFOUND", "the members are localhost", "remove-node", "localhost:1")
        refused("NOTFOUND", "the members are localhost", "replace-node", "localhost:1", "localhost:2")
    end)

    it("ends after its time when nobody, or no node, answers at the address", function()
        refused("NOTFOUND", "no such host", "add-node", "no-such-host.invalid:6000", "--timeout", "3")
        refused("NOTFOUND", "no answer", "add-node", "localhost:" .. cluster.free_port(), "--timeout", "2")
        local silent = assert(socket.bind("127.0.0.1", 0))
        local _, port = silent:getsockname()
        refused("NOTFOUND", "was not reached in time", "add-node", "localhost:" .. port, "--timeout", "2")
        silent:close()
        local web = cluster.free_port()
        local other = process.start({ "/usr/bin/env", "lua5.4", "-e", ([[
            local server = assert(require "socket".bind("127.0.0.1", %d))
            server:settimeout(20)
            while true do
                local client = server:accept()
                if not client then break end
                client:receive(1)
                client:send("HTTP/1.1 400 Bad Request\r\n\r\n")
                client:close()
            end]]):format(web) })
        process.wait_for("it listens", 10, function()
            local client = socket.connect("127.0.0.1", web)
            if client then client:close() end
            return client ~= nil
        end)
        refused("NOTFOUND", "no usher node", "add-node", "localhost:" .. web, "--timeout", "3")
        other:kill()
    end)

    it("refuses a node of another cluster and one with another secret", function()
        local other = cluster.new { n = 1 }
        refused("CONFLICT", "belongs to another cluster", "add-node", other.nodes[1].address)
        refused("CONFLICT", "calls itself localhost", "add-node", "127.0.0.1:" .. other.nodes[1].port)
        other:close()
        other = cluster.new { n = 1, profile = 'secret = "another one", users = {}', start = false }
        other:start(1)
        refused("NOAUTH", "another secret", "add-node", other.nodes[1].address)
        other:close()
    end)

    it("has logged nothing for any of that", function()
        local seen = c:must(1, "status").last
        assert.is_true(seen - last <= 2, ("%d entries"):format(seen - last)) -- an election at most
        local voters, learners = members.voters(c, 1)
        assert.same({ 3, 0 }, { #voters, learners })
    end)

    it("shows voters and quorum before, after, and after one more failure", function()
        local rows = members.must(c, 2, "add-node", "localhost:1", "--dry-run")
        assert.same({ 3, 4, 4 }, { rows[1].voters, rows[2].voters, rows[3].voters })
        assert.same({ 2, 3, 3 }, { rows[1].quorum, rows[2].quorum, rows[3].quorum })
        assert.is_true(rows[3].serves)
    end)

    it("hands leadership to whom it is told, and to anybody", function()
        for i = 1, 3 do
            local reply = members.must(c, i % 3 + 1, "transfer-leader", c.nodes[i].address)
            assert.equal(c.nodes[i].address, reply.leader)
            assert.equal(i, c:leader())
        end
        local reply = members.must(c, 1, "transfer-leader")
        assert.not_equal(c.nodes[3].address, reply.leader)
    end)

    it("drains a node: it does not lead and takes no work until told otherwise", function()
        local leader = c:leader()
        local reply = members.must(c, leader, "drain")
        assert.is_true(reply.draining)
        assert.not_equal(leader, c:leader())
        local answer, why = c:call(leader, "events")
        assert.is_nil(answer)
        assert.truthy(why:find("^NOTREADY .*draining.*ask another node"), why)
        assert.is_true(c:must(leader, "status").draining)
        refused("CONFLICT", "draining", "transfer-leader", c.nodes[leader].address)
        members.must(c, leader, "drain", "off")
        assert.truthy(c:call(leader, "events"))
        c:ready()
    end)

    it("gives up without harm when whoever asked goes away", function()
        local address = "localhost:" .. cluster.free_port()
        local asking = process.start({ cluster.usher, "add-node", address, "--at", c:addresses() },
            { out = c.dir .. "/asking" })
        process.wait_for("it waits", 20, function() return asking:output():find("waiting for", 1, true) end)
        local began = process.now()
        asking:signal("sigint")
        assert.not_equal(0, asking:wait(20))
        assert.is_true(process.now() - began < 5)
        assert.truthy(asking:output():find("interrupted: .*`nodes` shows the members"), asking:output())
        assert.truthy(members.must(c, 2, "transfer-leader", c.nodes[1].address)) -- the next change is taken
        assert.equal(3, #members.voters(c, 1))
    end)

    it("tells how it is: leader, nodes, status, health, doctor, from any node", function()
        for i = 1, 3 do
            assert.equal(c.nodes[c:leader()].address, c:must(i, "leader").leader)
            assert.equal(3, #c:must(i, "nodes"))
            local health = c:must(i, "health")
            assert.same({ "ok", 3, 3, 2, 1 },
                { health.status, health.voters, health.reachable, health.quorum, health.failures_left })
            assert.is_true(health.commit_ms > 0)
            process.wait_for("every node has told how it is", 10, function()
                local told = 0
                for _, row in ipairs(c:must(i, "status", "--cluster")) do told = told + (row.version and 1 or 0) end
                return told == 3
            end)
        end
        local checks = {}
        for _, row in ipairs(c:must(1, "doctor")) do checks[row.check] = row.status end
        for _, name in ipairs { "quorum", "leader", "lag", "clock", "digest", "binary", "policy", "profile" } do
            assert.equal("ok", checks[name], name)
        end
        assert.truthy(checks.fsync and checks.disk and checks.files)
    end)
end)

describe("a cluster under load", function()
    local c, load
    setup(function()
        local extra = "snapshot_bytes = 65536" -- about one a second
        c = cluster.new { profile = extra }
        c.extra = extra
        members.stage(c)
        load = members.load(c, 100)
    end)
    teardown(function() c:close() end)

    it("grows by a node that starts late, and by one that is up", function()
        local four, five = members.another(c), members.another(c)
        c:start(five)
        local client = assert(c:connect(1, 90))
        client:send("add-node", c.nodes[four].address)
        c:start(four)
        assert(client:receive(90))
        members.must(c, 2, "add-node", c.nodes[five].address)
        members.wait_voters(c, five, { 1, 2, 3, 4, 5 })
        client:close()
    end)

    it("loses its leader by remove-node, which tells it so", function()
        local leader = c:leader()
        local reply = members.must(c, leader, "remove-node", c.nodes[leader].address)
        assert.equal(4, reply.voters)
        process.wait_for("it knows", 20, function() return c:must(leader, "status").role == "removed" end)
        -- with its old disk it comes back, twice, once after a restart
        members.must(c, leader % 5 + 1, "add-node", c.nodes[leader].address)
        process.wait_for("it is back", 20, function() return c:must(leader, "status").role ~= "removed" end)
        members.must(c, leader, "remove-node", c.nodes[leader].address)
        c:stop(leader)
        c:start(leader)
        process.wait_for("it is told again", 30, function()
            local status = c:json(leader, "status")
            return status and status.role == "removed"
        end)
        members.must(c, leader % 5 + 1, "add-node", c.nodes[leader].address)
        members.wait_voters(c, leader, { 1, 2, 3, 4, 5 })
    end)

    it("replaces a node whose disk was emptied while it was down", function()
        local i = c:follower()
        local address = c.nodes[i].address
        c:kill(i)
        assert(os.execute(("test -d '%s/default/%s' && rm -rf '%s/default/%s'"):format(c.dir, address, c.dir, address)))
        c:start(i)
        process.wait_for("it is told what to run", 30, function()
            local log = c.nodes[i].process:output()
            return log:find("usher replace-node " .. address .. " " .. address, 1, true), log
        end)
        local reply = members.must(c, c:leader(), "replace-node", address, address)
        assert.equal(5, reply.voters)
        members.wait_voters(c, i, { 1, 2, 3, 4, 5 })
    end)

    it("removes a dead node, and one that comes back to learn of it", function()
        local dead = c:follower()
        c:kill(dead)
        local reply = members.must(c, c:leader(), "remove-node", c.nodes[dead].address)
        assert.equal(4, reply.voters)
        c:start(dead)
        process.wait_for("it learns of it", 30, function()
            local status = c:json(dead, "status")
            return status and status.role == "removed"
        end)
        members.must(c, c:leader(), "add-node", c.nodes[dead].address)
    end)

    it("brings back a node after the log was compacted", function() miss_the_log(c) end)

    it("takes two changes at once, from two nodes", function()
        local six, seven = members.another(c), members.another(c)
        c:start(six)
        c:start(seven)
        local a, b = assert(c:connect(1, 90)), assert(c:connect(2, 90))
        a:send("add-node", c.nodes[six].address)
        b:send("add-node", c.nodes[seven].address)
        assert(a:receive(90))
        assert(b:receive(90))
        a:close()
        b:close()
        members.wait_voters(c, 3, { 1, 2, 3, 4, 5, 6, 7 })
    end)

    it("shrinks from 7 to 3 while leaders are killed", function()
        for i = 7, 4, -1 do
            local leader = c:leader()
            local by = leader % i + 1 -- any that runs; those above i are stopped by now
            local client = assert(c:connect(by, 90))
            client:send("remove-node", c.nodes[i].address)
            if leader ~= by and leader ~= i then
                c:kill(leader)
                c:start(leader)
            end
            local reply, why = client:receive(90)
            assert.truthy(reply, tostring(why) .. "\n" .. c:logs())
            client:close()
            c:stop(i)
            c:ready() -- a leader that is not back yet counts as unreachable, and the next change is refused
        end
        c.n = 3
        members.wait_voters(c, 1, { 1, 2, 3 })
        c:ready()
    end)

    it("has lost no acknowledged booking", function()
        local n = load:check()
        assert.is_true(n > 100, ("only %d bookings"):format(n))
    end)
end)

describe("a first start with profiles that differ", function()
    it("founds nothing, shows both lists, and goes on when they are mended", function()
        local c = cluster.new { n = 2, start = false }
        finally(function() c:close() end)
        local right = c.config
        c:start(1)
        c.config = c.dir .. "/other.lua"
        cluster.write(c.config, ("return { default = { nodes = { %q, %q, 'localhost:1' }, data = %q } }\n"):format(
            c.nodes[1].address, c.nodes[2].address, c.dir))
        c:start(2)
        for i = 1, 2 do
            process.wait_for("it shows both lists", 30, function()
                local status = c:json(i, "status")
                local waiting = status and status.waiting or ""
                return waiting:find("the lists of nodes differ: here .-; there ")
                    and waiting:find("localhost:1", 1, true), waiting
            end)
            local reply, why = c:call(i, "book", "1", "ann", "A1")
            assert.is_nil(reply)
            assert.truthy(why:find("^NOTREADY "), why)
        end
        c:stop(2)
        c.config = right
        c:start(2)
        c:ready()
        assert.equal(2, #c:must(1, "nodes"))
    end)
end)

describe("a cluster under full load", function()
    it("takes a node back that was away for so long that it needs a snapshot", function()
        local c = cluster.new { profile = "snapshot_bytes = 1048576" }
        local load = process.start({ cluster.usher, "bench", "--clients", "64", "--seconds", "100", "--at",
            c:addresses() }, { out = c.dir .. "/bench.log" })
        finally(function()
            load:kill()
            load:wait(10)
            c:close()
        end)
        local away = miss_the_log(c)
        assert.is_nil(load:ended(), load:output())
        assert.truthy(c.nodes[away].process:output():find("installed the snapshot of entry", 1, true))
    end)
end)

describe("a cluster of two", function()
    local c
    setup(function() c = cluster.new { n = 2 } end)
    teardown(function() c:close() end)

    it("shrinks to one, never to none, and grows again", function()
        c:must(1, "add-event", "1", '[{"row":"A","seats":10}]')
        local leader = c:leader()
        local left = leader % 2 + 1
        members.must(c, leader, "remove-node", c.nodes[leader].address)
        members.wait_voters(c, left, { left })
        c:must(left, "book", "1", "ann", "A1")
        for _, force in ipairs { {}, { "--force" } } do
            local reply, why = members.ask(c, left, "remove-node", c.nodes[left].address, table.unpack(force))
            assert.is_nil(reply)
            assert.truthy(why:find("last voter", 1, true), why)
        end
        c:kill(left)
        c:start(left)
        process.wait_for("it serves alone", 30, function() return c:json(left, "book", "1", "ann", "A2") end)
        members.must(c, left, "add-node", c.nodes[leader].address)
        members.wait_voters(c, leader, { 1, 2 })
        assert.equal(2, c:must(leader, "event", "1", "--linearizable").counts.booked)
    end)
end)
