local P = require "usher.policy"

local function fails(text, f, ...)
    local ok, e = pcall(f, ...)
    assert.is_false(ok)
    assert.truthy(tostring(e):find(text, 1, true), tostring(e))
end

describe("durations", function()
    it("are seconds or a number with a unit", function()
        for text, ms in pairs { ["90"] = 90000, ["15m"] = 900000, ["2h"] = 7200000, ["1d"] = 86400000,
            ["250ms"] = 250, ["0"] = 0 } do
            assert.equal(ms, P.duration(text))
        end
        assert.equal(5000, P.duration(5))
        for _, wrong in ipairs { "", "m", "-5", "1.5h", "5 m", "5x", true, -1, 1.5 } do
            assert.is_nil(P.duration(wrong))
        end
    end)
end)

describe("deny", function()
    it("raises a table with a code", function()
        local ok, e = pcall(P.deny, { message = "no", seat = "A1" })
        assert.is_false(ok)
        assert.same({ code = "DENIED", message = "no", seat = "A1" }, e)
        ok, e = pcall(P.deny, "just no")
        assert.is_false(ok)
        assert.same({ code = "DENIED", message = "just no" }, e)
        fails("a table or a text", P.deny, 5)
    end)
end)

describe("rule", function()
    it("brings what was written into one form", function()
        local check = function() return true end
        local r = P.rule { name = "x", check = check, exempt = { "vip" }, on = "take" }
        assert.same({ name = "x", code = "DENIED", check = check, exempt = { vip = true }, exempts = true,
            on = { take = true } }, r)
        r = P.rule(check)
        assert.same({ code = "DENIED", check = check, exempt = {}, on = { take = true, reseat = true } }, r)
    end)

    it("finds misspelt keys and wrong kinds", function()
        fails("unknown key 'chek'", P.rule, { chek = print })
        fails("`seat` or `check` is needed", P.rule, { name = "x" })
        fails("rule: check is a string, not a function", P.rule, { check = "x" })
        fails("rule: name is a number", P.rule, { check = print, name = 5 })
        fails("no such verb as 'tke'", P.rule, { check = print, on = { "tke" } })
        fails("a table or a function", P.rule, "x")
        fails("a list of names", P.rule, { check = print, exempt = { 5 } })
    end)

    it("does not change what it was given", function()
        local spec = { check = print, on = { "take" } }
        P.rule(spec)
        assert.same({ check = print, on = { "take" } }, spec)
    end)
end)

describe("policy", function()
    it("has no rules and short holds when nothing is said", function()
        local p = P.policy {}
        assert.same({}, p.rules)
        assert.equal(600000, p.hold_ttl)
        assert.equal(1800000, p.hold_max)
        assert.equal("policy", p.name)
        assert.is_nil(p.price)
    end)

    it("names rules that have no name by their place", function()
        local p = P.policy { rules = { P.rule { name = "a", check = print }, print } }
        assert.equal("a", p.rules[1].name)
        assert.equal("rule 2", p.rules[2].name)
    end)

    it("lets a ruleset inherit what it does not set", function()
        local price = function() return 1 end
        local p = P.policy { hold_ttl = "15m", rules = { print }, price = price, late_confirm = true,
            rulesets = { matinee = { hold_ttl = "5m" }, gala = { rules = {} } } }
        local m, g = p.rulesets.matinee, p.rulesets.gala
        assert.equal(300000, m.hold_ttl)
        assert.equal(1800000, m.hold_max)
        assert.equal(p.rules, m.rules)
        assert.equal(price, m.price)
        assert.is_true(m.late_confirm)
        assert.same({}, g.rules)
        assert.equal(900000, g.hold_ttl)
    end)

    it("lets a long hold last as long as it says", function()
        assert.equal(3600000, P.policy({ hold_ttl = "1h" }).hold_max)
        assert.equal(1200000, P.policy({ hold_max = "20m", wait_ttl = "1h" }).wait_ttl)
        assert.equal(300000, P.policy({ wait_ttl = "20m",
            rulesets = { short = { hold_ttl = "5m", hold_max = "5m" } } }).rulesets.short.wait_ttl)
        assert.equal(3600000, P.policy({ hold_max = "20m", wait_ttl = "1h",
            rulesets = { long = { hold_max = "2h" } } }).rulesets.long.wait_ttl)
        fails("hold_max is shorter than hold_ttl", P.policy, { hold_ttl = "1h", hold_max = "30m" })
    end)

    it("says what is wrong, at the author's line", function()
        fails("policy_spec.lua", function() P.policy { hold_ttl = "soon" } end)
        fails("hold_ttl is not a duration", P.policy, { hold_ttl = "soon" })
        fails("rules[1] is a string, not a rule", P.policy, { rules = { "x" } })
        fails("no such hook as 'take_'", P.policy, { hooks = { take_ = print } })
        fails("hooks.take is a number", P.policy, { hooks = { take = 5 } })
        fails("price is a number, not a function", P.policy, { price = 5 })
        fails("rulesets is a table of named tables", P.policy, { rulesets = { "x" } })
        fails("ruleset x: hold_ttl is not a duration", P.policy, { rulesets = { x = { hold_ttl = "q" } } })
    end)
end)
