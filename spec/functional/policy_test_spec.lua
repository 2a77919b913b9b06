-- `usher policy test` and `usher policy check`: a policy's author at work, without any cluster.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"

local POLICY = [[
local rules = require "usher.rules"
return policy { name = "mine", rules = { rules.max_per_customer(4), rules.no_orphans { aisles = true } } }
]]

local SPEC = [[
local test = require "usher.test"
describe("mine", function()
    local house
    before_each(function()
        house = test.house { policy = "policy.lua", rows = { "A stalls: ....|......", "B circle: ..x......." } }
    end)
    it("sells four seats to a customer, no fifth", function()
        house:grants("hold 1 ann A1..A4", { seats = "A1 A2 A3 A4" })
        house:refuses("hold 1 ann A5 A6", "max_per_customer")
    end)
    it("leaves no single seat but at an aisle", function()
        house:refuses("book 1 bob B5", { rule = "no_orphans", seat = "B4" })
        house:grants "book 1 bob A2..A4"
    end)
    it("lets a hold expire", function()
        house:grants "hold 1 ann A1 A2"
        assert.equal(1, house:pass "16m")
        assert.equal("free", house:status "A1")
    end)
end)
]]

local function run(...) return process.run { cluster.usher, ... } end

describe("usher policy test", function()
    local dir

    before_each(function()
        dir = cluster.directory()
        cluster.write(dir .. "/policy.lua", POLICY)
    end)
    after_each(function() os.execute("rm -rf '" .. dir .. "'") end)

    local function has(text, part)
        assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
    end

    it("runs a folder's specs in process and says how many passed", function()
        cluster.write(dir .. "/mine_spec.lua", SPEC)
        local status, out, err = run("policy", "test", dir)
        assert.equal(0, status, out .. err)
        has(out, "3 successes / 0 failures / 0 errors")
    end)

    it("stands a policy that means harm (tests/fuzz/policy)", function()
        local argv = { cluster.usher, "policy", "test", "tests/fuzz/policy" }
        local status, out, err = process.run(argv, { seconds = 120 })
        assert.equal(0, status, out .. err)
        has(out, "2000 storms, ")
    end)

    it("shows the house, the verdict and every rule when an expectation fails", function()
        cluster.write(dir .. "/mine_spec.lua", (SPEC:gsub('house:grants "book 1 bob A2..A4"',
            'house:refuses("book 1 bob A2..A4", "no_orphans")')))
        local status, out = run("policy", "test", dir)
        assert.equal(1, status)
        has(out, "2 successes / 1 failure")
        has(out, "mine_spec.lua:13: book 1 bob A2..A4")
        has(out, "would be granted A2 A3 A4, though it should be refused")
        has(out, "ok   no_orphans")
        has(out, "^ asked for")
    end)

    it("tells a mistake in the policy from a refusal", function()
        cluster.write(dir .. "/policy.lua", "return policy { rules = { function() return nil + 1 end } }")
        cluster.write(dir .. "/mine_spec.lua", [[
            local test = require "usher.test"
            it("is refused", function()
                test.house { policy = "policy.lua", rows = { "A: ...." } }:refuses "book 1 bob A1"
            end)]])
        local status, out = run("policy", "test", dir)
        assert.equal(1, status)
        has(out, "that is a mistake in the policy: INTERNAL policy.lua:1: attempt to perform arithmetic")
    end)

    it("plays random customers and shrinks what breaks a property to a few lines", function()
        cluster.write(dir .. "/mine_spec.lua", [[
            local test = require "usher.test"
            local function most(n)
                return function(house)
                    for _, party in ipairs(house:parties()) do
                        if #party.seats > n then return false, "a party of " .. #party.seats end
                    end
                end
            end
            it("holds", function()
                local total = test.property { policy = "policy.lua", rows = { "A: ......", "B: ......" },
                    steps = 3000, holds = most(4) }
                assert.equal(3000, total.steps)
                assert.truthy(total.granted > 500)
            end)
            it("breaks", function()
                test.property { policy = "policy.lua", rows = { "A: ......", "B: ......" }, steps = 3000,
                    seed = 7, holds = most(3) }
            end)]])
        local status, out = run("policy", "test", dir)
        assert.equal(1, status)
        has(out, "1 success / 1 failure")
        has(out, "(seed 7); shrunk to 1:")
        has(out, "house:play [[")
        has(out, "a party of 4")
        local _, again = run("policy", "test", dir)
        assert.equal(out:match("house:play.-house:"), again:match("house:play.-house:"))
    end)

    it("plays as many customers as the command line says, from its seed, and tells what it played", function()
        cluster.write(dir .. "/mine_spec.lua", [[
            local test = require "usher.test"
            it("never sells a customer five", function()
                test.property { policy = "policy.lua", rows = { "A: ......", "B: ......" }, steps = 10, name = "five",
                    holds = function(house)
                        for _, party in ipairs(house:parties()) do
                            if #party.seats > 4 then return false end
                        end
                    end }
            end)]])
        local status, out = run("policy", "test", dir, "--customers", "200", "--seed=3")
        assert.equal(0, status, out)
        local customers = out:match("five: (%d+) customers in %d+ houses, seed 3: %d+ commands granted")
        assert.truthy(math.tointeger(tonumber(customers)) >= 200, out)
        has(out, "1 success / 0 failures")
        local err
        status, out, err = run("policy", "test", dir, "--customers", "many")
        assert.equal(1, status, out)
        has(err, "--customers takes a whole number, 1 or more")
    end)

    it("runs one spec, the specs beside a policy.lua, and busted's own options", function()
        cluster.write(dir .. "/mine_spec.lua", SPEC)
        cluster.write(dir .. "/other_spec.lua", "it('is another', function() end)")
        local _, out = run("policy", "test", dir .. "/mine_spec.lua")
        has(out, "3 successes")
        _, out = run("policy", "test", dir .. "/policy.lua")
        has(out, "4 successes")
        _, out = run("policy", "test", dir, "--filter=expire")
        has(out, "1 success /")
    end)

    it("does not take a spec that ends the program for one that held", function()
        cluster.write(dir .. "/mine_spec.lua", "it('ends', function() os.exit(0) end)")
        local status, out = run("policy", "test", dir)
        assert.equal(1, status, out)
        has(out, "0 successes / 0 failures / 1 error")
        has(out, "mine_spec.lua:1: os.exit: a spec does not end the program")
    end)

    it("says what is wrong with what it is given", function()
        local status, _, err = run("policy", "test", dir .. "/nowhere")
        assert.equal(2, status)
        has(err, "there is no policy folder or spec file")
        local out
        status, out = run("policy", "test", dir)
        assert.equal(1, status)
        has(out, "No test files found")
    end)
end)

describe("usher policy check", function()
    local dir
    before_each(function() dir = cluster.directory() end)
    after_each(function() os.execute("rm -rf '" .. dir .. "'") end)

    local function check(text)
        cluster.write(dir .. "/policy.lua", text)
        return run("policy", "check", dir .. "/policy.lua")
    end

    it("compiles a policy and its modules", function()
        cluster.write(dir .. "/limits.lua", "return { n = 4 }")
        cluster.write(dir .. "/unused.lua", "this is no Lua")
        local status, out = check [[
            local limits = require "limits"
            return policy { rules = { require("usher.rules").max_per_customer(limits.n) } }]]
        assert.equal(0, status)
        assert.truthy(out:find("is right: 2 files", 1, true), out)
    end)

    for text, message in pairs {
        ["return policy {\n    nmae = 'x' }"] = "policy.lua:1: policy: unknown key 'nmae'",
        ["\n\nreturn policy {"] = "policy.lua:3: ",
        ["local x = nil\nx.y = 1"] = "policy.lua:2: attempt to index a nil value",
        ["while true do end"] = "ran over its budget",
        ["return 5"] = "policy.lua must return policy{...}",
        ["return policy { rules = { require 'gone' } }"] = "there is no gone.lua in the bundle",
        ["return policy { commands = { command { name = 'status' } } }"] = "command 'status' needs run",
    } do
        it("refuses a broken one with its place: " .. message, function()
            local status, _, err = check(text)
            assert.equal(1, status)
            assert.truthy(err:find(message, 1, true), err)
        end)
    end

    it("refuses what no node would take, though Lua does not mind, with its file and line", function()
        for text, message in pairs {
            ["return policy {}\n-- caf\xe9"] = "BADARG policy.lua:2: not UTF-8: save it as UTF-8",
            ["\xef\xbb\xbfreturn policy {}"] = "BADARG policy.lua:1: a byte order mark: save it as UTF-8 without one",
            ["\xff\xfer\0e\0"] = "BADARG policy.lua:1: not UTF-8: save it as UTF-8",
        } do
            local status, out, err = check(text)
            assert.equal(1, status, out)
            assert.truthy(err:find(message, 1, true), err)
        end
    end)

    it("says which lone file is too long, and not that its folder is", function()
        local status, _, err = check("-- " .. ("x"):rep(1048576))
        assert.equal(2, status)
        assert.truthy(err:find("BADARG the policy " .. dir .. "/policy.lua has 10485", 1, true), err)
        assert.falsy(err:find("folder", 1, true), err)
    end)

    it("ends with status 2 where there is no such policy; where it is wrong a check ends with 1", function()
        cluster.write(dir .. "/wrong.lua", "return policy { name = 'x', rulez = 1 }")
        for _, verb in ipairs { "check", "deploy", "diff", "rehearse" } do
            local status, _, err = run("policy", verb, dir .. "/nowhere.lua")
            assert.equal(2, status, verb)
            assert.truthy(err:find("^BADARG cannot read the policy .*nowhere.lua"), err)
            status, _, err = run("policy", verb, dir .. "/wrong.lua")
            assert.equal(verb == "check" and 1 or 2, status, verb)
            assert.truthy(err:find(
                "^BADARG policy.lua:1: policy: unknown key 'rulez'; did you mean 'rules'%?; in .*wrong.lua"), err)
        end
    end)
end)
