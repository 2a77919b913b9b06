--- Changes of the membership while nodes die under them: the leader at each step of add, remove and
--- replace, the joiner half-way, a minority for good; and 3 nodes to 5 to 7 to 3 under load while
--- the leader is killed every few seconds. Every command ends in its time, what was acknowledged
--- stays, and the next change is taken.
local cluster = require "spec.support.cluster"
local members = require "spec.support.members"
local process = require "spec.support.process"

local TIMEOUT_S = 40

--- Sends a change through node i and returns what waits for its end: the answer, or nil and the
--- refusal, which must come in the change's time and say how to go on.
local function asked(c, i, ...)
    local client = assert(c:connect(i, TIMEOUT_S + 25))
    local command = { ... }
    local words = table.concat(command, " ")
    table.insert(command, "--timeout")
    table.insert(command, tostring(TIMEOUT_S))
    assert(client:send(table.unpack(command)))
    return function()
        local reply, why = client:receive()
        client:close()
        assert.truthy(reply or tostring(why):find("^%u+ .*;"), words .. ": " .. tostring(why) .. "\n" .. c:logs())
        return reply, why
    end
end

--- How often the log of node i has this text so far.
local function count(c, i, text)
    local n, at = 0, 1
    local log = c.nodes[i].process:output()
    while true do
        local from, to = log:find(text, at, true)
        if not from then return n end
        n, at = n + 1, to + 1
    end
end

--- Waits until node i logs the text once more than `seen` times.
local function logged(c, i, text, seen)
    process.wait_for(("node %d logs `%s`"):format(i - 1, text), 30, function()
        return count(c, i, text) > seen
    end)
end

--- Some voter but these two.
local function third(a, b)
    for i = 1, 3 do
        if i ~= a and i ~= b then return i end
    end
end

--- Waits until every node that is in the cluster serves.
local function ready(c)
    process.wait_for("all members serve", 40, function()
        for i in ipairs(c.nodes) do
            local reply, why = c:call(i, "events", "--linearizable")
            local outside = why and (why:find("removed", 1, true) or why:find("in no cluster yet", 1, true))
            if not reply and not outside then return nil, why end
        end
        return true
    end)
end

local function wipe(c, i)
    local dir = ("%s/default/%s"):format(c.dir, c.nodes[i].address)
    assert(os.execute(("test -d '%s' && rm -rf '%s'"):format(dir, dir)))
end

describe("a leader that dies during a change", function()
    local c, load, four
    setup(function()
        c = cluster.new()
        four = members.another(c)
        members.stage(c)
        load = members.load(c, 300)
        c:start(four)
    end)
    teardown(function() c:close() end)

    --- Kills the leader when it has logged the text about node 4, and starts it again.
    local function dies(leader, text, seen)
        logged(c, leader, text, seen)
        c:kill(leader)
        c:start(leader)
    end

    --- However it ended: no learner stays, and with one more change node 4 is in (or out).
    local function settle(inside)
        ready(c)
        local by = third(c:leader(), four)
        process.wait_for("no learner is left", 30, function()
            local ok, _, learners = pcall(members.voters, c, by)
            return ok and learners == 0
        end)
        local reply, why = members.ask(c, by, inside and "add-node" or "remove-node", c.nodes[four].address)
        assert.truthy(reply or why:find("member already") or why:find("no member"), why)
        for i = 1, 3 do members.wait_voters(c, i, inside and { 1, 2, 3, 4 } or { 1, 2, 3 }) end
    end

    for _, step in ipairs { "begins", "is a learner", "is a voter" } do
        it("at the step of add-node when the log says `" .. step .. "`", function()
            local leader = c:leader()
            local text = step == "begins" and ("add-node %s begins"):format(c.nodes[four].address)
                or ("%s %s"):format(c.nodes[four].address, step)
            local seen = count(c, leader, text)
            local ended = asked(c, leader % 3 + 1, "add-node", c.nodes[four].address)
            dies(leader, text, seen)
            ended()
            settle(true)
            settle(false)
        end)
    end

    for _, step in ipairs { "begins", "is no member any more" } do
        it("at the step of remove-node when the log says `" .. step .. "`", function()
            settle(true)
            local leader = c:leader()
            if leader == four then
                members.must(c, 1, "transfer-leader", c.nodes[1].address)
                leader = c:leader()
            end
            local text = step == "begins" and ("remove-node %s begins"):format(c.nodes[four].address)
                or ("%s %s"):format(c.nodes[four].address, step)
            local seen = count(c, leader, text)
            local ended = asked(c, third(leader, four), "remove-node", c.nodes[four].address)
            dies(leader, text, seen)
            ended()
            settle(false)
        end)
    end

    it("while it is the one to be removed", function()
        settle(true)
        members.must(c, 1, "transfer-leader", c.nodes[four].address)
        local text = ("remove-node %s begins"):format(c.nodes[four].address)
        local ended = asked(c, 1, "remove-node", c.nodes[four].address)
        dies(four, text, 0)
        ended()
        settle(false)
    end)

    for _, step in ipairs { "begins", "is a learner", "is a voter", "is no member any more" } do
        it("at the step of replace-node when the log says `" .. step .. "`", function()
            local leader = c:leader()
            local old = third(leader)
            local by = third(leader, old)
            local address = c.nodes[step == "is no member any more" and old or four].address
            local text = step == "begins" and ("%s begins"):format(c.nodes[four].address) or address .. " " .. step
            local seen = count(c, leader, text)
            local ended = asked(c, by, "replace-node", c.nodes[old].address, c.nodes[four].address)
            dies(leader, text, seen)
            ended()
            ready(c)
            local reply, why = members.ask(c, by, "add-node", c.nodes[old].address)
            assert.truthy(reply or why:find("member already"), why)
            settle(false)
        end)
    end

    it("has lost no acknowledged booking", function()
        local n = load:check()
        assert.is_true(n > 50, ("only %d bookings"):format(n))
    end)
end)

describe("a change", function()
    local c
    setup(function()
        c = cluster.new()
        c:must(1, "add-event", "1", '[{"row":"A","seats":50}]')
    end)
    teardown(function() c:close() end)

    it("is undone when the joiner dies while it catches up, and taken when it is back", function()
        local four = members.another(c)
        c:start(four)
        process.wait_for("it says how it is to be added", 20, function()
            local _, why = c:call(four, "book", "1", "ann", "A1")
            why = tostring(why)
            return why:find("^NOTREADY this node is in no cluster yet: .*; to add it, run: usher add%-node "
                .. c.nodes[four].address .. " %-%-at ") and not why:find("start the nodes", 1, true), why
        end)
        local leader = c:leader()
        local learner = c.nodes[four].address .. " is a learner"
        local client = assert(c:connect(leader % 3 + 1, 30))
        client:send("add-node", c.nodes[four].address, "--timeout", "6")
        process.wait_for("it joins", 20, function()
            return c.nodes[four].process:output():find("joining the cluster", 1, true)
        end)
        c:kill(four)
        local began = process.now()
        local reply, why = client:receive(30)
        client:close()
        if not reply then -- else it was quicker: a voter that is dead
            assert.truthy(why:find("^LIMIT .*dropped again; the voters are as they were;"), why)
            assert.is_true(process.now() - began < 12)
            assert.is_true(count(c, leader, learner) > 0)
            members.wait_voters(c, 1, { 1, 2, 3 })
        end
        c:must(1, "book", "1", "ann", "A1")
        c:start(four)
        reply, why = members.ask(c, 1, "add-node", c.nodes[four].address)
        assert.truthy(reply or why:find("member already"), why)
        for i = 1, 4 do members.wait_voters(c, i, { 1, 2, 3, 4 }) end
    end)

    it("takes in again at its address who was removed and has an empty disk now", function()
        members.must(c, 1, "remove-node", c.nodes[4].address)
        c:stop(4)
        wipe(c, 4)
        c:start(4)
        local reply = members.must(c, 2, "add-node", c.nodes[4].address)
        assert.equal(4, reply.voters)
        for i = 1, 4 do members.wait_voters(c, i, { 1, 2, 3, 4 }) end
    end)

    it("removes a minority that cannot be reached, one after the other", function()
        local five = members.another(c)
        c:start(five)
        members.must(c, 1, "add-node", c.nodes[five].address)
        local leader, dead = c:leader(), {}
        for i = 5, 1, -1 do
            if i ~= leader and #dead < 2 then
                dead[#dead + 1] = i
                c:kill(i)
            end
        end
        local by = leader
        for k, i in ipairs(dead) do
            local reply = members.must(c, by, "remove-node", c.nodes[i].address)
            assert.equal(5 - k, reply.voters)
        end
        c:must(by, "book", "1", "ann", "A2")
        for _, i in ipairs(dead) do
            c:start(i)
            process.wait_for("it learns that it was removed", 30, function()
                local status = c:json(i, "status")
                return status and status.role == "removed"
            end)
            -- and does not call itself a member
            for _, member in ipairs(c:must(i, "nodes")) do assert.not_equal(c.nodes[i].address, member.address) end
        end
    end)
end)

describe("a cluster that grows and shrinks", function()
    it("from 3 to 5 to 7 to 3 under load, its leader killed every few seconds", function()
        local c = cluster.new()
        finally(function() c:close() end)
        members.stage(c)
        local load = members.load(c, 500)
        local killed, next_kill, changes = 0, process.now() + 2, 0

        local function kill_leader()
            if process.now() < next_kill then return end
            for i in ipairs(c.nodes) do
                local status = c:running(i) and c:json(i, "status")
                if status and status.role == "leader" and status.ready then
                    c:kill(i)
                    c:start(i)
                    killed = killed + 1
                    break
                end
            end
            next_kill = process.now() + 4
        end

        --- Runs one change, again as long as it says how to, while leaders die.
        local function change(name, i)
            local address = c.nodes[i].address
            for _ = 1, 8 do
                local running = process.start({ cluster.usher, name, address, "--timeout", "30", "--at",
                    c:addresses() }, { out = c.dir .. "/change" })
                process.wait_for(name .. " ends", 60, function()
                    kill_leader()
                    return running:ended()
                end)
                local said = running:output()
                os.remove(c.dir .. "/change")
                if running:ended() == 0 or said:find("is a member already") or said:find("is no member") then
                    changes = changes + 1
                    return process.wait_for("a leader dies at least every second change", 30, function()
                        kill_leader()
                        return killed >= changes // 2
                    end) -- on a fast machine a change is over before
                end
                assert.truthy(said:find("\n?%u+ [^\n]*;"), "no way forward: " .. said)
            end
            error(name .. " " .. address .. " never came through\n" .. c:logs())
        end

        for _, size in ipairs { 5, 7 } do
            while c.n < size do
                local i = members.another(c)
                c:start(i)
                change("add-node", i)
            end
        end
        assert.equal(7, #members.voters(c, c:leader()))
        for i = 7, 4, -1 do
            change("remove-node", i)
            c:stop(i)
            c.nodes[i], c.n = nil, i - 1
        end
        c:ready()
        members.wait_voters(c, 1, { 1, 2, 3 })
        assert.is_true(killed >= 4, ("only %d leaders died"):format(killed))
        assert.is_true(load:check() > 50)
    end)
end)
