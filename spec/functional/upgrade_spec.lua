--- A cluster whose policy was deployed by an older program, and does not load in this one any more:
--- it would be a house without rules, so nothing is sold until the policy is mended.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"

describe("a policy that does not load any more", function()
    local c
    setup(function()
        c = cluster.new { n = 1, start = false }
        -- A backup by the program of 2026-11: its rules had names, which was taken for no rules at all.
        local data = c.dir .. "/default/" .. c.nodes[1].address
        local status, _, err = c:run("restore", "spec/data/lax-policy.backup", "--file", c.config, "--data", data)
        assert.equal(0, status, err)
        c:start(1)
        c:ready()
    end)
    teardown(function() c:close() end)

    it("sells nothing, and says why in the log", function()
        for _, line in ipairs { "book 1 bob A3", "hold 1 bob A3", "best 1 bob 1" } do
            local reply, why = c:call(1, line:match("(%S+) (%S+) (%S+) (%S+)"))
            assert.is_nil(reply)
            assert.matches("^INTERNAL policy 1 does not load on the leader: its log says why; deploy one", why)
        end
        assert.matches("policy 1 does not load, nothing is sold until another one is deployed: policy.lua:1: ",
            c.nodes[1].process:output())
        assert.equal(0, c:must(1, "seats", "1").counts.booked)
    end)

    local function doctor()
        for _, row in ipairs(c:must(1, "doctor")) do
            if row.check == "policy" then return row end
        end
    end

    it("is an error to doctor, with the line and the way out", function()
        local row = process.wait_for("the node has told", 10, function()
            local found = doctor()
            return found.status == "error" and found
        end)
        assert.equal(c.nodes[1].address
            .. ": policy 1 does not load there (policy.lua:1): it sells nothing while it leads", row.text)
        assert.matches("`policy show 1`.*`policy rollback`", row.advice)
    end)

    it("is mended by a deploy", function()
        c:must(1, "policy", "deploy", "return policy { name = 'mended' }")
        process.wait_for("it is active", 10, function() return (c:call(1, "book", "1", "bob", "A3")) end)
        process.wait_for("the hold has expired", 10, function()
            return c:must(1, "seats", "1").counts.held == 0
        end)
        process.wait_for("doctor is content", 10, function()
            local row = doctor()
            return row.status == "ok" and row.text == "mended, version 2, loaded on all 1", row.text
        end)
    end)
end)
