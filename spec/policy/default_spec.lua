-- The default policy, loaded as a bundle would be.
local P = require "usher.policy"

local function load_policy(path)
    local chunk = assert(loadfile(path, "t", { policy = P.policy, rule = P.rule, deny = P.deny, require = require }))
    return chunk()
end

describe("the default policy", function()
    local policy = load_policy("lua/policy/default/policy.lua")

    it("has no rules, no prices and no hooks", function()
        assert.equal("default", policy.name)
        assert.same({}, policy.rules)
        assert.same({}, policy.hooks)
        assert.same({}, policy.rulesets)
        assert.is_nil(policy.price)
        assert.is_nil(policy.late_confirm)
    end)

    it("holds seats for 10 minutes, 30 in all", function()
        assert.equal(10 * 60 * 1000, policy.hold_ttl)
        assert.equal(30 * 60 * 1000, policy.hold_max)
    end)
end)
