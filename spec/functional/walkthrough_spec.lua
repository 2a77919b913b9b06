--- The walk-through of the README of the system that Usher succeeds, word for word (`usher` for its
--- main.py): three terminals, a fourth node that is added first and started second, taken out
--- again, told so, and stopped.
local cluster = require "spec.support.cluster"
local members = require "spec.support.members"
local process = require "spec.support.process"
local terminal = require "spec.support.terminal"
local uv = require "luv"

describe("the walk-through", function()
    local c
    setup(function() c = cluster.new() end)
    teardown(function() c:close() end)

    --- A console of node i, its lines from a pipe.
    local function console(i, input)
        return process.run({ cluster.usher, "console", c.nodes[i].address }, { input = input, seconds = 100 })
    end

    it("adds a node in any console, the address typed at the prompt; the node is started afterwards", function()
        local four = members.another(c) -- the profile is edited to four nodes
        local address = c.nodes[four].address
        local window = terminal.start({ uv.fs_realpath(cluster.usher), "console", c.nodes[2].address },
            { dir = uv.fs_realpath(c.dir), width = 150, env = { HOME = uv.fs_realpath(c.dir) } })
        finally(function() window:close() end)
        window:wait("@default>", 30)
        window:line("add-node")
        window:wait("address: host:port", 20) -- it asks for what is missing
        window:line(address)
        window:wait("waiting for " .. address, 20, true)
        assert.same(3, #members.voters(c, 1)) -- nothing has changed yet
        c:start(four)
        window:wait("is a voter now: 4 voters, quorum 3, 1 may fail", 70, true)
        c:ready()
        for i = 1, 4 do members.wait_voters(c, i, { 1, 2, 3, 4 }) end
        local log = c.nodes[four].process:output()
        assert.is_nil(log:find("removed", 1, true), log) -- nobody took it for one that has left
        c:must(four, "add-event", "1", '[{"row":"A","seats":10}]')
        c:must(four, "book", "1", "ann", "A1")
    end)

    it("takes it out again; the node says so and how to stop it", function()
        local status, out, err = console(3, "remove-node " .. c.nodes[4].address .. "\n")
        assert.equal(0, status, err)
        assert.truthy(out:find("was removed: 3 voters, quorum 2, 1 may fail", 1, true), out)
        assert.truthy(out:find("Stop it", 1, true), out)
        process.wait_for("it says that it was removed", 20, function()
            local log = c.nodes[4].process:output()
            return log:find("was removed from the cluster", 1, true) and log:find("Ctrl-C", 1, true), log
        end)
        local reply, why = c:call(4, "book", "1", "bob", "A2")
        assert.is_nil(reply)
        assert.truthy(why:find("^NOTREADY .*removed"), why)
        assert.equal("removed", c:must(4, "status").role)
        assert.equal(0, c:stop(4))
        members.profile(c, { 1, 2, 3 }) -- and the profile is edited back
        c:must(1, "book", "1", "bob", "A2")
        for i = 1, 3 do members.wait_voters(c, i, { 1, 2, 3 }) end
    end)

    it("shows what a change would do to the quorum before it is done", function()
        local status, out = process.run({ cluster.usher, "remove-node", c.nodes[3].address, "--dry-run", "--at",
            c.nodes[1].address, "-w", "json" }, { seconds = 30 })
        assert.equal(0, status, out)
        local rows = require "cjson".decode(out)
        assert.same({ 3, 2, 2 }, { rows[1].voters, rows[2].voters, rows[3].voters })
        assert.same({ true, true, false }, { rows[1].serves, rows[2].serves, rows[3].serves })
        assert.same(3, #members.voters(c, 1))
    end)
end)
