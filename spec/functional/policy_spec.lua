--- The policy that docs/policy.md shows, given to a new cluster by its profile.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"

local function documented_policy()
    local file = assert(io.open("docs/policy.md"))
    local text = file:read("a")
    file:close()
    for block in text:gmatch("\n```lua\n(.-)\n```") do
        if block:find("return policy", 1, true) then return block end
    end
end

describe("a policy from the profile", function()
    local c
    setup(function()
        c = cluster.new { start = false }
        cluster.write(c.dir .. "/cinema.lua", documented_policy())
        local file = assert(io.open(c.config))
        local text = file:read("a"):gsub("data =", ('policy = %q, data ='):format(c.dir .. "/cinema.lua"), 1)
        file:close()
        cluster.write(c.config, text)
        for i = 1, 3 do c:start(i) end
        c:ready()
        c:must(1, "add-event", "1", '[{"row":"A","seats":10},{"row":"B","seats":10}]')
    end)
    teardown(function() c:close() end)

    it("is version 1 on every node", function()
        for i = 1, 3 do
            process.wait_for("the policy is there", 5, function()
                return c:must(i, "status").policy.version == 1
            end)
        end
    end)

    it("prices an order", function()
        local order = c:must(2, "book", "1", "ann", "A1", "A2")
        assert.equal(2500, order.price)
    end)

    it("refuses a single seat left over, naming the rule and the seat", function()
        for i = 1, 3 do
            local reply, why = c:call(i, "hold", "1", "bob", "A4")
            assert.is_nil(reply)
            assert.truthy(why:find("^DENIED") and why:find("A3", 1, true), why)
            assert.truthy(why:find("possible: A", 1, true), why) -- the nearest that is granted
            assert.truthy(why:find("; rule no_orphans of policy %d+$"), why)
            reply, why = c:call(i, "hold", "1", "bob", "A4", "--dry-run")
            assert.is_nil(reply)
            assert.truthy(why:find("dry run: max_per_customer ok, no_orphans no", 1, true), why)
        end
    end)

    it("limits a customer over holds and bookings", function()
        c:must(1, "hold", "1", "carl", "B1", "B2", "B3", "B4")
        local reply, why = c:call(2, "book", "1", "carl", "B5", "B6", "B7")
        assert.is_nil(reply)
        assert.truthy(why:find("^LIMIT") and why:find("6", 1, true), why)
    end)

    it("asks the rule written in the file itself", function()
        local reply, why = c:call(3, "hold", "1", "dan", "B9=child", "B10=child")
        assert.is_nil(reply)
        assert.truthy(why:find("a child needs an adult", 1, true), why)
        assert.equal("held", c:must(3, "hold", "1", "dan", "B9=child", "B10").status)
    end)

    it("holds for `best` too, and says with --dry-run what each rule said", function()
        local best = c:must(1, "best", "1", "eve", "2", "--dry-run")
        assert.is_true(best.dry_run)
        assert.is_true(#best.rules >= 3)
        local seats = c:must(1, "seats", "1", "--linearizable")
        assert.is_nil(seats.taken[best.seats[1].seat])
    end)

    it("is pointed out in each node's log, with the command to run, when another one is active", function()
        local told = ("the profile's policy %s differs from the active version 2; to deploy it: "
            .. "usher policy deploy %s"):format(c.dir .. "/cinema.lua", c.dir .. "/cinema.lua")
        local function logged(i)
            process.wait_for("node " .. i .. " says so", 20, function()
                local text = c.nodes[i].process:output()
                return text:find(told, 1, true) ~= nil, text:sub(-500)
            end)
        end
        for i = 1, 3 do assert.is_nil(c.nodes[i].process:output():find("differs from the active", 1, true)) end
        c:must(1, "policy", "deploy", "return policy { name = 'other' }")
        for i = 1, 3 do logged(i) end
        c:kill(2)
        c:start(2)
        c:ready()
        logged(2) -- it says so again at a start
        c:must(1, "policy", "rollback")
    end)

    it("that fails is told in the log of the node that runs it, without what it may say of a customer", function()
        c:must(1, "policy", "deploy", "return policy { name = 'wrong', rules = {\n"
            .. "function(_, ask) error('no ' .. ask.customer) end } }")
        local reply, why = c:call(1, "book", "1", "zoe", "B9")
        assert.is_nil(reply)
        assert.matches("^INTERNAL .*no zoe", why)
        local text = ""
        process.wait_for("a node says so", 10, function()
            text = c.nodes[1].process:output() .. c.nodes[2].process:output() .. c.nodes[3].process:output()
            return text:find("policy %d+ fails at policy.lua:2: ") ~= nil, text:sub(-500)
        end)
        assert.is_nil(text:find("zoe", 1, true))
        local function doctor(i, status)
            return process.wait_for("doctor of node " .. i .. " says " .. status, 10, function()
                for _, row in ipairs(c:must(i, "doctor")) do
                    if row.check == "policy" then return row.status == status and row, row.text end
                end
            end)
        end
        for i = 1, 3 do -- whoever is asked knows of it, and shows no customer either
            local row = doctor(i, "error")
            assert.matches("^localhost:%d+: policy %d+ has failed at policy.lua:2 within 5 minutes$", row.text)
            assert.matches("`policy show %d+ %-%-only policy.lua`.*`policy rollback`", row.advice)
        end
        c:must(1, "policy", "rollback")
        for i = 1, 3 do assert.matches(", version %d+, loaded on all 3$", doctor(i, "ok").text) end
    end)

    it("is still in force after all nodes were killed", function()
        for i = 1, 3 do c:kill(i) end
        for i = 1, 3 do c:start(i) end
        c:ready()
        local reply, why = c:call(1, "hold", "1", "bob", "A4")
        assert.is_nil(reply)
        assert.truthy(why:find("^DENIED"), why)
    end)
end)
