-- Real processes on disks that fail: input/output errors, failed syncs, no space; on one node, on all.
local shim = require "spec.support.shim"
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"

local c, booked = nil, {}

local function chart()
    local rows = {}
    for i = 1, 26 do rows[i] = ('{"row":"%s","seats":40}'):format(string.char(64 + i)) end
    return "[" .. table.concat(rows, ",") .. "]"
end

local next_seat = 0
--- Books the next seat through node i; what was acknowledged is kept for later.
local function book(i)
    local n = next_seat
    next_seat = n + 1
    local seat = ("%s%d"):format(string.char(65 + n // 40), n % 40 + 1)
    local order, why = c:json(i, "book", "1", "ann", seat, "--request", "r" .. n)
    if order then booked[seat] = order.order end
    return order, why
end

local function check_all_booked(i)
    local seats = c:must(i, "seats", "1", "--linearizable")
    for seat, order in pairs(booked) do
        assert.equal("booked", seats.taken[seat], seat)
        assert.equal("booked", c:must(i, "order", order).status)
    end
end

--- Some running node that is not `i`.
local function other(i)
    for k = 1, 3 do
        if k ~= i and c:running(k) then return k end
    end
end

--- Every running node has seen that its disk is well again (it looks once a second).
local function healed()
    process.wait_for("the disks are well again", 60, function()
        for i = 1, 3 do
            local words = c.nodes[i].process:output()
            local full = math.max((words:match(".*()new requests are refused") or 0),
                (words:match(".*()no space for the next log segment") or 0))
            if full > (words:match(".*()there is space again") or 0) then return nil, "node " .. i end
        end
        return true
    end)
end

local function soon(what, check) return process.wait_for(what, 90, check) end

describe("a failing disk", function()
    setup(function()
        c = shim.new {}
        c:must(1, "add-chart", "hall", chart())
        c:must(1, "add-event", "1", "hall")
    end)
    teardown(function() shim.close(c) end)

    -- {what fails, how the node's last words read}
    for _, case in ipairs {
        { "sync EIO log-", "cannot [%w ]-sync .*/log%-%x+: Input/output error: stopping, nothing is tried again" },
        { "write EIO log-", "cannot write[%w ]- .*/log%-%x+: Input/output error: stopping, nothing is tried again" },
    } do
        it("ends a node at once, and loses nothing: " .. case[1], function()
            for _, role in ipairs { "leader", "follower" } do
                local i = role == "leader" and c:leader() or c:follower()
                assert(book(other(i)))
                local before = #c.nodes[i].process:output()
                c:faults(i, case[1])
                soon("the node meets its disk", function()
                    book(other(i))
                    return not c:running(i)
                end)
                assert.equal(1, c.nodes[i].process:wait(10))
                local words = c.nodes[i].process:output():sub(before + 1)
                assert.matches(case[2], words)
                -- Once: a failed write or sync is never tried again.
                assert.equal(1, select(2, words:gsub("nothing is tried again", "")))
                soon("the others serve", function() return book(other(i)) end)
                c:faults(i)
                c:start(i)
                c:ready()
                check_all_booked(i)
            end
        end)
    end

    it("ends a node that cannot store its vote", function()
        local leader = c:leader()
        local i = c:follower()
        c:faults(i, "sync EIO vote-")
        c:pause(leader) -- an election: the follower has to vote, or to stand itself
        soon("the node meets its disk", function() return not c:running(i) end)
        assert.matches("cannot sync .*/vote%-[01]: Input/output error", c.nodes[i].process:output())
        c:resume(leader)
        c:faults(i)
        c:start(i)
        c:ready()
        check_all_booked(i)
    end)

    it("ends all nodes when all disks fail, and has everything acknowledged after a restart", function()
        assert(book(c:leader()))
        for i = 1, 3 do c:faults(i, "sync EIO log-") end
        -- The last one may have nothing to write any more: without a majority it only asks around.
        soon("a majority meets its disks", function()
            local left = 0
            for i = 1, 3 do
                if c:running(i) then
                    left = left + 1
                    book(i)
                end
            end
            return left <= 1
        end)
        for i = 1, 3 do
            if c:running(i) then c:kill(i) else assert.equal(1, c.nodes[i].process:wait(10)) end
            c:faults(i)
            c:start(i)
        end
        c:ready()
        for i = 1, 3 do check_all_booked(i) end
    end)

    local function refuses(i, reader)
        soon("requests are refused", function()
            local order, why = book(i)
            return not order and why:match("^NOSPACE ")
        end)
        local _, why = book(i)
        assert.matches("^NOSPACE the disks? of [%w ]+ full; reads go on", why)
        -- Reads go on, of both kinds, on every node.
        for k = 1, 3 do
            assert.is_truthy(c:must(k, "seats", "1").counts)
            assert.is_truthy(c:must(k, "seats", "1", "--linearizable").counts)
        end
        check_all_booked(reader)
    end

    it("refuses early when all disks are nearly full, reads on, and heals by itself", function()
        for i = 1, 3 do c:faults(i, "space 1000000 /") end
        refuses(c:leader(), 1)
        -- Room is kept for what the cluster itself must write: another can be elected.
        local old = c:leader()
        c:pause(old)
        soon("another leads", function()
            for i = 1, 3 do
                local status = i ~= old and c:json(i, "status")
                if status and status.role == "leader" and status.ready then return true end
            end
        end)
        c:resume(old)
        c:ready()
        for i = 1, 3 do c:faults(i) end
        soon("it heals", function() return book(c:leader()) end)
        healed()
        check_all_booked(2)
    end)

    it("goes on when a follower's disk is full, and through another leader when the leader's is", function()
        local i = c:follower()
        c:faults(i, "space 1000000 /")
        for _ = 1, 20 do assert(book(c:leader())) end
        c:faults(i)
        healed()
        local full = c:leader()
        c:faults(full, "space 1000000 /")
        soon("requests are refused", function()
            local order, why = book(full)
            return not order and why:match("^NOSPACE the disk of the leader is full; reads go on")
        end)
        soon("another leads, and takes them", function() return c:leader() ~= full and book(full) end)
        for _ = 1, 20 do assert(book(c:leader())) end
        assert.equal("degraded", c:must(i, "health").status)
        -- With a second one full nobody passes the office on: all refuse.
        local second = 6 - full - c:leader()
        c:faults(second, "space 1000000 /")
        soon("a full majority refuses", function()
            local order, why = book(i)
            return not order and why:match("^NOSPACE the disks of too many nodes are full")
        end)
        assert.is_truthy(c:must(second, "seats", "1", "--linearizable").counts)
        c:faults(second)
        soon("it heals", function() return book(full) end)
        c:faults(full)
        healed()
        check_all_booked(full)
    end)

    it("waits for the next log segment while there is no space for it, and goes on when there is", function()
        local leader = c:leader()
        for i = 1, 3 do c:faults(i, "allocate ENOSPC log-") end
        -- A quarter of a segment of log (16 MiB) makes the nodes want the next one.
        local note = '{"note":"' .. ("x"):rep(60000) .. '"}'
        local refused = soon("requests are refused", function()
            local order, why = c:json(leader, "hold", "1", "big", "Z40", "--metadata", note)
            if not order then return why end
            local gone
            gone, why = c:call(leader, "release", order.order)
            return not gone and why
        end)
        assert.matches("^NOSPACE ", refused)
        assert.matches("no space for the next log segment: cannot reserve space for .*/log%-",
            c.nodes[leader].process:output())
        for i = 1, 3 do assert.is_true(c:running(i)) end
        check_all_booked(leader)
        for i = 1, 3 do c:faults(i) end
        soon("it heals", function() return book(leader) end)
        healed()
        for i = 1, 3 do check_all_booked(i) end
    end)

    it("without room for a restored directory leaves nothing behind, and the second try works", function()
        local file, target = c.dir .. "/night.usher", c.dir .. "/restored"
        assert.equal(0, (c:run("backup", file)))
        local function restore()
            return process.run({ cluster.usher, "restore", file, "--id", "0", "--file", c.config, "--data", target },
                { env = c.env(1) })
        end
        for _, part in ipairs { "log-", "import.part" } do
            c:faults(1, ("allocate ENOSPC %s\nwrite ENOSPC %s"):format(part, part))
            local status, _, err = restore()
            c:faults(1)
            assert.equal(1, status)
            assert.matches("^NOSPACE cannot .*No space left on device", err)
            assert.is_nil((io.open(target .. ".restoring")))
        end
        local status, _, err = restore()
        assert.equal(0, status, err)
    end)

    it("without hard links takes a backup, and overwrites none", function()
        local file = c.dir .. "/stick.usher"
        c:faults(1, "link EPERM stick")
        local function backup()
            local env = c.env(1)
            env.USHER_ADDR = c:addresses()
            return process.run({ cluster.usher, "backup", file }, { env = env })
        end
        local status, _, err = backup()
        assert.equal(0, status, err)
        assert.is_nil((io.open(file .. ".part")))
        assert.equal(1, (backup()))
        c:faults(1)
    end)

    it("that cannot read its log any more is told of by check, and rebuilt from the others", function()
        local i = c:follower()
        local node = c.nodes[i]
        local dir = ("%s/default/%s"):format(c.dir, node.address)
        assert.equal(0, c:stop(i))
        c:faults(i, "read EIO log-")
        local sick = "cannot read at offset 0 of .*/log%-%x+: Input/output error; .*usher node %-%-id N %-%-rebuild"
        local status, out, err = process.run({ cluster.usher, "check", dir }, { env = c.env(i) })
        assert.equal(1, status)
        assert.matches("result +damaged", out)
        assert.matches(sick, err)
        c:start(i)
        assert.equal(1, node.process:wait(60))
        assert.matches(sick, node.process:output())

        c:start(i, "--rebuild")
        soon("the node is a voter again", function()
            for _, member in ipairs(c:running(i) and c:json(i, "nodes") or {}) do
                if member.address == node.address and member.role == "voter" then return c:json(i, "seats", "1") end
            end
        end)
        check_all_booked(i)
        c:faults(i)
    end)
end)
