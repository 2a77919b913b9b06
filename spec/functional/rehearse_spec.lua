-- A rehearsal judges what really happened: granted requests from the log, refused ones from the files of
-- all nodes, each from the state that it met; what cannot be rebuilt is counted, not guessed.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"

local function policy(most, price)
    return ([[local rules = require "usher.rules"
        return policy { rules = { rules.max_per_customer(%d) }, price = rules.price_zones { default = %d } }]])
        :format(most, price)
end

describe("policy rehearse", function()
    local c, first, second

    setup(function()
        c = cluster.new()
        c:must(1, "policy", "deploy", policy(2, 500))
        c:must(1, "add-event", "1", '[{"row":"A","seats":10},{"row":"B","seats":10}]')
    end)
    teardown(function() c:close() end)

    local function rehearse(i, ...) return c:must(i, "policy", "rehearse", ...) end

    -- Refused at the node that leads, without a request id: only that node's file knows of it.
    local function refused(...)
        local leader = c:leader()
        local reply, why = c:call(leader, ...)
        assert.is_nil(reply)
        assert.truthy(why:find("^LIMIT"), why)
        return leader
    end

    it("says what would be granted now, refused now, and cost something else", function()
        c:must(1, "book", "1", "ann", "A1", "A2")
        first = refused("book", "1", "bob", "A3", "A4", "A5")
        c:must(1, "book", "1", "cid", "B1")
        local report = rehearse(2, policy(3, 700))
        assert.same({ count = 1, seats = 3, money = 2100 }, report.granted_now)
        assert.same({ count = 2, seats = 3, money = 600 }, report.other_price)
        assert.same({ count = 0, seats = 0, money = 0 }, report.refused_now)
        report = rehearse(3, policy(1, 500))
        assert.same({ count = 1, seats = 2, money = 1000 }, report.refused_now)
        assert.same({ count = 0, seats = 0, money = 0 }, report.granted_now)
        assert.equal("max_per_customer", report.rules[1].rule)
        assert.equal(0, report.not_rebuilt)
        local cheaper = [[hooks = { take = function(tx, order) tx:amend(order, { price = order.price - 100 }) end } }]]
        report = rehearse(2, (policy(2, 500):gsub("}%s*$", ", " .. cheaper)))
        assert.same({ count = 2, seats = 3, money = -200 }, report.other_price)
        local none, why = c:call(1, "policy", "rehearse", "1", "--last", "0")
        assert.is_nil(none)
        assert.truthy(why:find("^BADARG"), why)
        for _, since in ipairs { "5m", "1h", "2026-01-01", "2026-01-01T10:00", "2026-01-01 10:00:30Z", "1000" } do
            assert.equal(report.requests, rehearse(1, policy(2, 500), "--since", since).requests, since)
        end
        process.wait_for("nothing was asked for a second", 10, function()
            return rehearse(1, policy(2, 500), "--since", "1s").requests == 0
        end)
        assert.equal(0, rehearse(1, policy(2, 500), "--since", "2096-02-29").requests)
        for _, since in ipairs { "5x", "2026-13-01", "2026-02-30", "2026-01-01T25:00", "soon", "-5m", "" } do
            none, why = c:call(1, "policy", "rehearse", "1", "--since", since)
            assert.is_nil(none)
            assert.truthy(why:find("^BADARG %-%-since"), why)
        end
        local _, out = c:run("policy", "rehearse", "1")
        assert.truthy(out:find("from_time%s+%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d"), out)
        local same = rehearse(1, "1") -- the active version itself
        assert.equal(same.requests, same.same)
    end)

    it("judges each request from the state it met, not from today's", function()
        -- Cid has one seat and asks for two: three were refused then, whatever becomes of cid's booking.
        refused("book", "1", "cid", "B2", "B3")
        local order = c:must(1, "orders", "--customer", "cid", "--linearizable")[1].order
        c:must(1, "cancel", order)
        local report = rehearse(1, policy(2, 500), "--last", "2")
        assert.same({ 2, 2 }, { report.requests, report.same })
        assert.equal(1, rehearse(1, policy(3, 500), "--last", "2").granted_now.count)
    end)

    it("gathers what was refused from all nodes, and says when one does not answer", function()
        second = first % 3 + 1
        c:must(1, "transfer-leader", c.nodes[second].address)
        c:ready()
        process.wait_for("the other one leads", 20, function() return c:leader() == second end)
        assert.equal(second, refused("book", "1", "dan", "B5", "B6", "B7"))
        local asked = second % 3 + 1
        local report = rehearse(asked, policy(3, 500))
        assert.same({ 3, 0 }, { report.granted_now.count, report.nodes_missing })
        c:kill(first)
        report = process.wait_for("the others tell what they know", 30, function()
            return c:json(asked, "policy", "rehearse", policy(3, 500))
        end)
        assert.same({ 1, 1 }, { report.granted_now.count, report.nodes_missing })
        c:start(first)
        c:ready()
    end)

    it("counts what was refused before the newest snapshot, and does not guess", function()
        local before = process.wait_for("all nodes tell what they know", 30, function()
            local one = rehearse(1, policy(3, 500)) -- the one that was killed may not be heard yet
            return one.nodes_missing == 0 and one
        end)
        for i = 1, 3 do c:must(i, "snapshot") end
        c:must(1, "book", "1", "eve", "B9")
        local report = process.wait_for("the log begins behind the snapshot", 30, function()
            local one = rehearse(1, policy(3, 500))
            return one.not_rebuilt > 0 and one.nodes_missing == 0 and one,
                ("requests %d, not rebuilt %d"):format(one.requests, one.not_rebuilt)
        end)
        assert.equal(before.granted_now.count, report.not_rebuilt + report.granted_now.count)
        assert.truthy(report.from_index > before.from_index)
    end)

    it("takes a request whose command the candidate has not for refused", function()
        local gift = [[return policy { commands = { command { name = "gift",
            args = { { "event", "event" }, { "seats", "seat", many = true } },
            run = function(tx, req) return tx:take { customer = "gift", seats = req.seats } end } } }]]
        c:must(1, "policy", "deploy", gift)
        process.wait_for("the command is known here", 10, function() return c:json(1, "gift", "1", "A8", "A9") end)
        local report = rehearse(1, policy(3, 500), "--last", "1")
        assert.same({ count = 1, seats = 2, money = 0 }, report.refused_now)
        assert.same({ "NOTFOUND", 1, 0 }, { report.rules[1].rule, report.requests, report.same })
        assert.equal(1, rehearse(1, gift, "--last", "1").same) -- a group is no part of what a command does
    end)

    it("counts of an order that is there what a move adds, and all of it for a confirm", function()
        local prices = [[local rules = require "usher.rules"
            return policy { price = rules.price_zones { default = %d, gold = 3000 }, rules = {
                rule { name = "no", on = { %s }, check = function() return false end } } }]]
        c:must(1, "policy", "deploy", prices:format(1000, '"extend"'))
        c:must(1, "add-event", "2", '[{"row":"A","seats":9},{"row":"B","seats":3,"category":"gold"}]')
        local ann = c:must(1, "book", "2", "ann", "A1..A4").order
        local bob = c:must(1, "hold", "2", "bob", "B1", "B2").order
        c:must(1, "confirm", bob)
        c:must(1, "move", ann, "A1", "A5")
        c:must(1, "swap", ann, "A5", bob, "B1")
        local function counted(default, verb) return rehearse(1, prices:format(default, verb), "--last", "3") end
        assert.same({ count = 1, seats = 2, money = 6000 }, counted(1000, '"confirm"').refused_now)
        assert.same({ count = 2, seats = 0, money = 0 }, counted(1000, '"reseat"').refused_now)
        assert.same({ count = 1, seats = 0, money = 400 }, counted(1100, '"extend"').other_price)
    end)

    it("tells how long serving took before and meanwhile, and is no request itself", function()
        local index = c:must(1, "status").last
        local serving = rehearse(1, policy(3, 500)).serving
        assert.truthy(serving.before.probes > 0 and serving.during.probes > 0)
        assert.truthy(serving.during.p99_us >= serving.during.p50_us)
        assert.equal(index, c:must(1, "status").last)
    end)
end)
