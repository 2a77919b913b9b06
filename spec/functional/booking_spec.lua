--- Bookings through any node of a real cluster of three processes.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"

describe("a cluster of three nodes", function()
    local c

    setup(function()
        c = cluster.new()
        c:must(1, "add-event", "1", '[{"row":"A","seats":10},{"row":"B","seats":10},{"row":"C","seats":10}]')
        c:must(2, "add-event", "2", '[{"row":"A","seats":10}]')
    end)
    teardown(function() c:close() end)

    it("books a seat through every node and shows it on all of them", function()
        for i = 1, 3 do
            local order = c:must(i, "book", "1", "ann", "A" .. i)
            assert.equal("booked", order.status)
            assert.same({ { event = "1", seat = "A" .. i } }, order.seats)
        end
        for i = 1, 3 do
            local seats = c:must(i, "seats", "1", "--linearizable")
            for k = 1, 3 do assert.equal("booked", seats.taken["A" .. k]) end
        end
    end)

    it("refuses a taken seat by its name and state, never its customer", function()
        c:must(1, "book", "1", "secretcustomer", "A5")
        for i = 1, 3 do
            local reply, why = c:call(i, "book", "1", "bob", "A5")
            assert.is_nil(reply)
            assert.truthy(why:find("^TAKEN .*A5.*booked"), why)
            assert.is_nil(why:find("secretcustomer", 1, true))
        end
    end)

    it("holds, confirms through another node, and refuses a second confirm as done", function()
        local held = c:must(1, "hold", "1", "ann", "B1", "B2", "--ttl", "60")
        assert.equal("held", held.status)
        assert.truthy(held.expires_at)
        local booked = c:must(2, "confirm", held.order)
        assert.equal("booked", booked.status)
        assert.equal(held.order, booked.order)
        local seen = c:must(3, "order", held.order)
        assert.equal("booked", seen.status)
    end)

    it("frees a hold when its time is over, and refuses the late confirm", function()
        local held = c:must(1, "hold", "1", "ann", "B5", "--ttl", "1")
        process.wait_for("the hold is over", 10, function()
            return c:must(2, "seats", "1", "--linearizable").taken.B5 == nil
        end)
        local reply, why = c:call(3, "confirm", held.order)
        assert.is_nil(reply)
        assert.truthy(why:find("^EXPIRED"), why)
        assert.equal("expired", c:must(1, "order", held.order).status)
    end)

    it("cancels an order and sells its seats again", function()
        local first = c:must(1, "book", "1", "ann", "C1", "C2")
        assert.equal("cancelled", c:must(2, "cancel", first.order).status)
        assert.equal("booked", c:must(3, "book", "1", "bob", "C1", "C2").status)
    end)

    it("takes seats of several events all or nothing", function()
        local order = c:must(1, "book", "1", "ann", "C5", "2:A1")
        assert.equal(2, #order.seats)
        local reply, why = c:call(2, "book", "1", "bob", "C6", "2:A1")
        assert.is_nil(reply)
        assert.truthy(why:find("^TAKEN .*A1"), why)
        assert.is_nil(c:must(3, "seats", "1", "--linearizable").taken.C6)
    end)

    it("gives one effect and the same order for a request id sent twice, through any node", function()
        local first = c:must(1, "book", "1", "ann", "C9", "--request", "r-1")
        local again = c:must(3, "book", "1", "ann", "C9", "--request", "r-1")
        assert.equal(first.order, again.order)
        local reply, why = c:call(2, "book", "1", "ann", "C10", "--request", "r-1")
        assert.is_nil(reply)
        assert.truthy(why:find("^CONFLICT"), why)
    end)

    it("shows a connection and a script what they wrote, on a follower too", function()
        local at = c:follower()
        local client = c:connect(at)
        for i = 1, 20 do
            assert(client:call("add-event", "own" .. i, '[{"row":"A","seats":2}]'))
            assert(client:call("event", "own" .. i))
        end
        client:close()
        cluster.write(c.dir .. "/own.lua", [[
            for i = 1, 20 do
                assert(usher.call("set", "own" .. i, "1"))
                local seen = #assert(usher.call("keys", "own"))
                if seen ~= i then error(seen .. " of " .. i) end
            end]])
        local status, out, err = process.run({ cluster.usher, "run", c.dir .. "/own.lua" },
            { env = { USHER_ADDR = c.nodes[at].address } })
        assert.equal(0, status, out .. err)
    end)

    it("answers redis-cli, on a follower too", function()
        local port = tostring(c.nodes[c:follower()].port)
        local status, out = process.run { "redis-cli", "-p", port, "HOLD", "2", "ann", "A8", "A9" }
        assert.equal(0, status)
        local order = out:match('"order":"([^"]+)"')
        assert.truthy(order, out)
        local _, confirmed = process.run { "redis-cli", "-p", port, "CONFIRM", order }
        assert.truthy(confirmed:find('"status":"booked"', 1, true), confirmed)
    end)

    it("pipelines in order", function()
        local client = assert(c:connect(1))
        for k = 1, 200 do
            if k % 2 == 0 then client:send("PING") else client:send("ECHO", "e" .. k) end
        end
        for k = 1, 200 do assert.equal(k % 2 == 0 and "PONG" or "e" .. k, client:receive()) end
        client:close()
    end)

    it("says of every node that it is ready", function()
        for i = 1, 3 do
            process.wait_for("node " .. i .. " is ready", 5, function() return c:must(i, "status").ready end)
        end
    end)

    it("says of a node that is alone after a restart that it is not ready", function()
        for i = 1, 3 do assert.equal(0, c:stop(i)) end
        c:start(1)
        local status = process.wait_for("node 1 answers", 20, function() return c:json(1, "status") end)
        assert.is_false(status.ready)
        c:start(2)
        c:start(3)
        c:ready()
    end)

    it("reports the same digest at the same index on all nodes", function()
        c:must(1, "book", "2", "ann", "A5")
        process.wait_for("all nodes agree", 5, function()
            local first
            for i = 1, 3 do
                local s = c:must(i, "status")
                first = first or s
                if s.applied ~= first.applied then return nil, "different indexes" end
                assert.equal(first.digest, s.digest)
            end
            return true
        end)
    end)
end)
