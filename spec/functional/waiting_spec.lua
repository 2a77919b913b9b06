--- The waiting list on a live cluster: offers are made by the leader, whoever was asked, run out by the
--- cluster's time, and survive the leader.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"

-- Whoever is called r... is refused, and to find that out takes long.
local POLICY = [[return policy { name = "waits", wait_ttl = "3s", rules = { function(_, ask)
    if ask.customer:sub(1, 1) ~= "r" then return true end
    for _ = 1, 1500000 do end
    return nil, "not you"
end } }]]

describe("a waiting list on a cluster", function()
    local c
    setup(function()
        c = cluster.new { start = false }
        cluster.write(c.dir .. "/waits.lua", POLICY)
        local file = assert(io.open(c.config))
        local text = file:read("a"):gsub("data =", ('policy = %q, data ='):format(c.dir .. "/waits.lua"), 1)
        file:close()
        cluster.write(c.config, text)
        for i = 1, 3 do c:start(i) end
        c:ready()
        c:must(1, "add-event", "1", '[{"row":"A","seats":2}]')
        c:must(1, "book", "1", "zoe", "A1", "A2")
    end)
    teardown(function() c:close() end)

    local function orders_of(customer) return c:must(1, "orders", "--customer", customer) end

    it("passes a seat from one to the next as offers run out", function()
        for i, who in ipairs { "ann", "bob" } do
            assert.equal(i, c:must(i, "wait", "1", who, "1").place)
        end
        c:must(3, "cancel-seat", "1", "A1")
        process.wait_for("bob has the offer that ann let go", 30, function()
            local ann, bob = orders_of("ann")[1], orders_of("bob")[1]
            return ann and ann.status == "expired" and bob and bob.seats[1].seat == "A1"
        end)
        process.wait_for("the seat is free again", 30, function()
            return c:must(1, "event", "1").counts.free == 1
        end)
        assert.same({}, c:must(2, "waits", "1", "--linearizable"))
    end)

    it("comes to everybody by itself, though one transaction is not enough", function()
        for i = 1, 8 do c:must(1, "wait", "1", "r" .. i, "1") end
        local fay = c:must(1, "wait", "1", "fay", "1")
        assert.equal(9, fay.place)
        process.wait_for("fay, behind all who are refused, has the seat", 20, function()
            return orders_of("fay")[1] ~= nil
        end)
        local rows = c:must(1, "log", ("%d..%d"):format(fay.index + 1, c:must(1, "event", "1").index))
        assert.equal("serve-waiting", rows[1].what)
        for i = 1, 8 do c:must(1, "unwait", "1", "r" .. i) end
        process.wait_for("the seat is free again", 30, function()
            return c:must(1, "event", "1").counts.free == 1
        end)
    end)

    it("keeps the line when the leader dies, and gives the seat through the new one", function()
        c:must(1, "book", "1", "eve", "A1")
        c:must(1, "wait", "1", "cid", "2")
        c:must(1, "wait", "1", "dan", "1")
        local leader = c:leader()
        c:kill(leader)
        local other = leader % 3 + 1
        local order = process.wait_for("a new leader", 30, function()
            return c:json(other, "cancel-seat", "1", "A1", "--request", "give-A1")
        end)
        assert.equal("eve", order.customer)
        process.wait_for("dan, who fits, is served", 20, function()
            local list = c:json(other, "orders", "--customer", "dan")
            return list and list[1] ~= nil
        end)
        assert.equal("cid", c:must(other, "waits", "1", "--linearizable")[1].customer)
        c:start(leader)
        c:ready()
    end)
end)
