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

    --- A console of node i in a terminal.
    local function console(i)
        local window = terminal.start({ uv.fs_realpath(cluster.usher), "console", c.nodes[i].address },
            { dir = uv.fs_realpath(c.dir), width = 150, env = { HOME = uv.fs_realpath(c.dir) } })
        finally(function() window:close() end)
        window:wait("@default>", 30)
        return window
    end

    it("adds a node in any console, the address typed at the prompt; the node is started afterwards", function()
        local four = members.another(c) -- the profile is edited to four nodes
        local address = c.nodes[four].address
        local window = console(2)
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
        for _, row in ipairs(c:must(1, "doctor")) do -- it was told to edit the list: no reason to warn
            if row.check == "profile" then assert.equal("ok", row.status, row.text) end
        end
        c:must(four, "add-event", "1", '[{"row":"A","seats":10}]')
        c:must(four, "book", "1", "ann", "A1")
    end)

    it("takes it out again; the node says so and how to stop it", function()
        local window = console(3)
        window:line("remove-node")
        window:wait("address: the member", 20)
        window:line(c.nodes[4].address)
        local screen = window:wait("Go on? [y/N]", 20) -- asked with the quorum before one's eyes
        assert.truthy(screen:find("before +4 +4 +3 +1 +true"), screen)
        assert.truthy(screen:find("after +3 +3 +2 +1 +true"), screen)
        assert.truthy(screen:find("after, and one more failure +3 +2 +2 +0 +true"), screen)
        assert.same(4, #members.voters(c, 1))
        window:line("y")
        screen = window:wait("was removed: 3 voters, quorum 2, 1 may fail", 20, true)
        assert.truthy(screen:find("Stop it", 1, true), screen)
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

    it("leaves a change with Ctrl-C without harm, and says what that means", function()
        local window = console(1)
        local address = "localhost:" .. cluster.free_port()
        window:line("add-node " .. address)
        window:wait("now 3 voters, quorum 2, 1 may fail; then 4 voters", 20, true)
        window:wait("waiting for " .. address, 20, true)
        window:press("C-c")
        window:wait("interrupted: what had not begun is left", 10, true)
        local next_one = c.nodes[c:leader() == 2 and 3 or 2].address
        window:line("transfer-leader " .. next_one) -- the next change is taken at once
        window:wait(next_one .. " leads now", 20, true)
        assert.same(3, #members.voters(c, 1))
    end)

    it("refuses at once what cannot be done, before it asks", function()
        local window = console(1)
        window:line("remove-node localhost:1")
        local screen = window:wait("NOTFOUND localhost:1 is no member", 20, true)
        assert.is_nil(screen:find("Go on?", 1, true), screen)
    end)

    it("asks in a one-shot too, with the quorum; no is no", function()
        local dir = uv.fs_realpath(c.dir)
        local window = terminal.start({ uv.fs_realpath(cluster.usher), "remove-node", c.nodes[3].address, "--at",
            c.nodes[1].address }, { dir = dir, width = 150, env = { HOME = dir } })
        finally(function() window:close() end)
        local screen = window:wait("Go on? [y/N]", 30)
        assert.truthy(screen:find("after, and one more failure +2 +1 +2 +0 +false"), screen)
        window:line("n")
        window:wait("[ended 1]", 20)
        assert.truthy(window:screen():find("left, nothing was done", 1, true), window:screen())
        assert.same(3, #members.voters(c, 1))
    end)

    it("runs the same changes from every surface: one-shot, console, RESP and Lua", function()
        local function usher(...)
            local status, out, err = process.run({ cluster.usher, ... },
                { seconds = 60, env = { USHER_ADDR = c:addresses() } })
            assert.equal(0, status, out .. err)
            return out .. err
        end
        local changes = {
            function(i) return usher("transfer-leader", c.nodes[i].address) end,
            function(i) return usher("console", "-c", "transfer-leader " .. c.nodes[i].address) end,
            function(i) return c:call(1, "TRANSFER-LEADER", c.nodes[i].address) end,
            function(i)
                return usher("console", "-c", ("= usher.transfer_leader{ address = %q }.message")
                    :format(c.nodes[i].address))
            end,
        }
        for n, change in ipairs(changes) do
            local to = c:leader() % 3 + 1
            local said = tostring(change(to))
            assert.truthy(said:find(c.nodes[to].address .. " leads now", 1, true), n .. ": " .. said)
            assert.equal(to, c:leader())
        end
        cluster.write(c.dir .. "/change.lua", [[
            local answer, message, code = usher.remove_node { address = arg[1] }
            if not answer then print(code, message) exit(1) end
            print(answer.message)
            answer = assert(usher.add_node { address = arg[1] })
            print(answer.message)
            print(usher.replace_node { old = "x", new = "y" })
        ]])
        local out = usher("run", c.dir .. "/change.lua", c.nodes[3].address)
        assert.truthy(out:find("was removed: 2 voters, quorum 2, 0 may fail", 1, true), out)
        assert.truthy(out:find("is a voter now: 3 voters, quorum 2, 1 may fail", 1, true), out)
        assert.truthy(out:find("`x` is no address", 1, true), out)
        c:ready()
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

describe("the terminal of a node", function()
    it("draws its prompt, and what was typed, again below what the node logs", function()
        local c = cluster.new { n = 3, start = false }
        local dir = uv.fs_realpath(c.dir)
        local window = terminal.start({ uv.fs_realpath(cluster.usher), "node", "--id", "0", "--file",
            uv.fs_realpath(c.config) }, { dir = dir, width = 150, env = { HOME = dir } })
        finally(function()
            window:press("C-d") -- leaves the console; the next one stops the node
            pcall(window.wait, window, "The console is closed", 10)
            window:press("C-c")
            pcall(window.wait, window, "[ended 0]", 20)
            window:close()
            c:close()
        end)
        window:wait("node0(founding)@default>", 30)
        window:type("hea")
        c:start(2)
        c:start(3)
        window:wait("founding the cluster of 3 nodes", 30, true)
        window:wait_last(function(line) return line:find("^node0%(%a+%)@default> hea$") end, 30)
        window:press("C-c")
        process.wait_for("it leads or follows", 30, function()
            return window:last():find("@default>$") and c:json(2, "events", "--linearizable")
        end)
        window:line("add-node localhost:" .. cluster.free_port())
        window:wait("waiting for localhost:", 20, true)
        c:kill(2) -- it logs the broken link while the line of progress is there
        window:wait("localhost:" .. c.nodes[2].port .. ": ", 20, true)
        window:press("C-c")
        window:wait("interrupted", 20, true)
        for line in window:screen(true):gmatch("[^\n]+") do
            assert.is_nil(line:find("^%S.+%d%d%d%d%-%d%d%-%d%dT"), line) -- a row begins with its time or has none
        end
        -- Removed, it says how to stop it, and that is how.
        c:start(2)
        process.wait_for("there is a majority without it", 30, function()
            return c:json(2, "events", "--linearizable")
        end)
        members.must(c, 3, "remove-node", c.nodes[1].address)
        window:wait(function(screen) -- over the end of a row
            return screen:gsub("\n", ""):find("in its terminal with Ctrl-D and then Ctrl-C", 1, true)
        end, 20)
        window:press("C-d")
        window:wait("The console is closed", 20)
        window:press("C-c")
        window:wait("[ended 0]", 20)
    end)
end)
