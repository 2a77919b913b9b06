--- Cuts that work one way only, between real processes: who is not heard, or hears nobody, does
--- not stop the others, acknowledges nothing that is lost and answers no read from the past; when the
--- cut heals the next change is taken.
local members = require "spec.support.members"
local process = require "spec.support.process"
local shim = require "spec.support.shim"

describe("a cut one way", function()
    local c, booked
    setup(function()
        c = shim.new()
        c:must(1, "add-event", "1", '[{"row":"A","seats":500}]')
        booked = {}
    end)
    teardown(function() shim.close(c) end)

    local function others(i) return i % 3 + 1, (i + 1) % 3 + 1 end

    --- Books the next seat through node i, retried with its id; what is acknowledged is noted.
    local function book(i, seconds)
        local seat = "A" .. #booked + 1
        process.wait_for("a booking through " .. c.nodes[i].address, seconds or 20, function()
            local reply, why = c:json(i, "book", "1", "ann", seat, "--request", seat)
            return reply, why
        end)
        booked[#booked + 1] = seat
    end

    --- A linearizable read at node i has all of it, or is refused, and soon.
    local function read(i)
        local began = process.now()
        local reply, why = c:json(i, "seats", "1", "--linearizable")
        local took = process.now() - began
        assert.is_true(took < 3.5, ("%.1f s"):format(took))
        if not reply then
            assert.truthy(tostring(why):find("^NOQUORUM ") or tostring(why):find("^UNKNOWN ")
                or tostring(why):find("^NOTREADY "), why)
            return false
        end
        for _, seat in ipairs(booked) do
            assert.equal("booked", reply.taken[seat], "a read from the past: " .. seat .. " is missing")
        end
        return true
    end

    local function healed()
        for i = 1, 3 do c:cut(i) end
        c:ready()
        for i = 1, 3 do assert.is_true(read(i)) end
        local to = c.nodes[c:follower()].address -- and the next change is taken
        assert.equal(to, members.must(c, c:leader(), "transfer-leader", to).leader)
    end

    it("of a leader that nobody hears: the others go on without it", function()
        local old = c:leader()
        local a, b = others(old)
        c:cut(old, { a, b })
        for _ = 1, 5 do book(a) end
        for _ = 1, 5 do
            book(b)
            read(old)
        end
        process.wait_for("doctor there says so", 10, function()
            for _, row in ipairs(c:must(old, "doctor")) do
                if row.text:find("does not hear this node", 1, true) then return true end
            end
        end)
        assert.not_equal(old, c:leader())
        healed()
    end)

    it("of a leader that hears nobody: it gives up, and the others go on", function()
        local old = c:leader()
        local a, b = others(old)
        c:cut(a, { old })
        c:cut(b, { old })
        for _ = 1, 5 do
            book(a)
            book(b)
            read(old)
        end
        healed()
    end)

    it("between the leader and one follower: nobody notices", function()
        local leader = c:leader()
        local a, b = others(leader)
        c:cut(a, { leader })
        for _ = 1, 10 do
            book(leader)
            book(b)
        end
        healed()
        leader = c:leader()
        a, b = others(leader)
        c:cut(leader, { a })
        for _ = 1, 10 do
            book(leader)
            book(b)
            read(b)
        end
        healed()
    end)

    it("during add-node and remove-node: they end in their time, one way or the other", function()
        local four = members.another(c)
        c:cut(four)
        c:start(four)
        local leader = c:leader()
        local a, b = others(leader)
        local client = assert(c:connect(a, 60))
        client:send("add-node", c.nodes[four].address, "--timeout", "20")
        c:cut(leader, { a, b })
        book(b)
        local reply, why = client:receive(40)
        c:cut(leader)
        c:ready()
        if not reply then
            assert.truthy(why:find(";", 1, true), why) -- and a way on
            reply = members.must(c, b, "add-node", c.nodes[four].address)
        end
        assert.truthy(reply)
        for i = 1, 4 do members.wait_voters(c, i, { 1, 2, 3, 4 }) end
        local removed = members.must(c, a, "remove-node", c.nodes[four].address)
        assert.equal(3, removed.voters)
        client:close()
        book(leader)
        assert.is_true(read(a))
    end)
end)
