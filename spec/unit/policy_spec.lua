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

    it("finds misspelt keys and codes", function()
        fails("deny: unknown key 'msg'; did you mean 'message'?", P.deny, { msg = "no" })
        fails("deny: there is no code 'DENEID'; did you mean 'DENIED'?", P.deny, { code = "DENEID" })
        fails("deny: there is no code 'no'; known are BADARG, BUSY, ", P.deny, { code = "no" })
        fails("deny: there is no code '422'", P.deny, { code = 422 })
        fails("policy_spec.lua", function() P.deny { msg = "no" } end)
    end)

    it("knows the codes that answers have", function()
        for code in io.open("src/base/error.h"):read("a"):gmatch('X%(ERR_%u+, "(%u+)"') do
            local _, e = pcall(P.deny, { code = code })
            assert.same({ code = code }, e)
        end
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
        fails("unknown key 'chek'; did you mean 'check'?", P.rule, { chek = print })
        fails("unknown key 'zzz'; known are check, code, exempt, hint, message, name, on, seat", P.rule, { zzz = 1 })
        fails("rule: there is no code 'LIMITED'; did you mean 'LIMIT'?", P.rule, { check = print, code = "LIMITED" })
        fails("`seat` or `check` is needed", P.rule, { name = "x" })
        fails("rule: check is a string, not a function", P.rule, { check = "x" })
        fails("rule: name is a number", P.rule, { check = print, name = 5 })
        fails("no such verb as 'tke'; did you mean 'take'?", P.rule, { check = print, on = { "tke" } })
        fails("no such verb as 'book'; known are confirm, extend, reseat, take", P.rule,
            { check = print, on = { "book" } })
        fails("on: \"wait\" asks `check`, which is missing", P.rule, { seat = print, on = { "take", "wait" } })
        fails("a table or a function", P.rule, "x")
        fails("a list of names", P.rule, { check = print, exempt = { 5 } })
    end)

    it("refuses verbs and roles that would be left out in silence", function()
        fails("rule: on[1] is nil: is its name right?", P.rule, { check = print, on = { nil, "confirm" } })
        fails("rule: on[2] is nil", P.rule, { check = print, on = { "take", nil, "confirm" } })
        fails("rule: on is empty: nothing would be judged", P.rule, { check = print, on = {} })
        fails("rule few: exempt[2] is nil", P.rule, { name = "few", check = print, exempt = { "a", nil, "b" } })
        fails("rule: exempt has the key 'office': it is a list", P.rule,
            { check = print, exempt = { "a", office = true } })
        fails("rule: exempt.office is a number, not true", P.rule, { check = print, exempt = { office = 1 } })
        assert.same({ office = true }, P.rule({ check = print, exempt = { office = true } }).exempt)
        assert.same({}, P.rule({ check = print, exempt = {} }).exempt)
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
        fails("no such hook as 'take_'; did you mean 'take'?", P.policy, { hooks = { take_ = print } })
        fails("no such hook as 'book'; known are cancel, confirm, expire", P.policy, { hooks = { book = print } })
        fails("policy: unknown key 'rule'; did you mean 'rules'?", P.policy, { rule = {} })
        fails("hooks.take is a number", P.policy, { hooks = { take = 5 } })
        fails("price is a number, not a function", P.policy, { price = 5 })
        fails("rulesets is a table of named tables", P.policy, { rulesets = { "x" } })
        fails("ruleset x: hold_ttl is not a duration", P.policy, { rulesets = { x = { hold_ttl = "q" } } })
    end)

    it("refuses lists with holes and names, which would lose rules in silence", function()
        fails("policy: rules[2] is nil: is its name right?", P.policy, { rules = { print, nil, print } })
        fails("policy: rules[1] is nil", P.policy, { rules = { nil, print } })
        fails("policy: rules is a rule, not a list of rules", P.policy, { rules = P.rule(print) })
        fails("policy: rules is a rule, not a list of rules", P.policy, { rules = print })
        fails("policy: rules has the key 'never': it is a list", P.policy, { rules = { never = print } })
        fails("policy: rules is a boolean", P.policy, { rules = false })
        fails("ruleset x: rules[2] is nil", P.policy, { rulesets = { x = { rules = { print, nil, print } } } })
        local hello = { name = "hello", run = print }
        fails("policy: commands has the key 'hello': it is a list", P.policy, { commands = { hello = hello } })
        fails("policy: commands is a command, not a list of commands", P.policy, { commands = hello })
        fails("policy: commands[2] is nil", P.policy, { commands = { hello, nil, hello } })
        fails("policy: commands[1] has the key 'hello'", P.policy, { commands = { { hello = hello } } })
        fails("policy_spec.lua", function() P.policy { rules = { print, nil, print } } end)
        assert.same({ { hello }, hello }, P.policy({ commands = { { hello }, hello } }).commands)
    end)

    it("names a shipped rule that was not called, and what a misspelt one was meant to be", function()
        local rules = require "usher.rules"
        fails("policy: rules[1] is the function rules.max_per_customer: call it", P.policy,
            { rules = { rules.max_per_customer } })
        fails("policy: price is the function rules.price_zones: call it", P.policy, { price = rules.price_zones })
        fails("there is no rule 'max_per_costumer'; did you mean 'max_per_customer'?", function()
            return rules.max_per_costumer(4)
        end)
    end)
end)
