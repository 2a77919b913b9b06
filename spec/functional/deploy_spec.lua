-- A policy's life on a cluster: tested, deployed, refused, rolled back; what breaks on the way.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local json = require "cjson"
local uv = require "luv"

local LIMIT = [[
local rules = require "usher.rules"
return policy { name = "limit", rules = { rules.max_per_customer(%d), rules.no_orphans { aisles = true } } }
]]

describe("policy deploy", function()
    local c, dir

    setup(function()
        c = cluster.new()
        dir = c.dir .. "/policy"
        os.execute("mkdir -p '" .. dir .. "'")
        c:must(1, "add-event", "1", '[{"row":"A","seats":10,"aisles":[5]},{"row":"B","seats":10}]')
    end)
    teardown(function() c:close() end)

    local function active(i)
        local status = c:json(i, "status")
        return status and status.policy
    end

    -- Every node judges by this version; its hash on all of them.
    local function everywhere(version)
        local hash
        process.wait_for("version " .. version .. " is active on every node", 20, function()
            hash = nil
            for i in ipairs(c.nodes) do
                local policy = active(i)
                if not policy or policy.version ~= version then
                    return nil, ("node %d has %s"):format(i - 1, policy and policy.version or "none")
                end
                if hash and hash ~= policy.hash then error("two hashes of one version") end
                hash = policy.hash
            end
            return true
        end)
        return hash
    end

    local function newest() return math.tointeger((c:must(1, "policies")[1] or { version = 0 }).version) end

    local function has(text, part)
        assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
    end

    local started = 0

    -- The program beside the spec, with its output kept.
    local function start(addresses, ...)
        started = started + 1
        return process.start({ cluster.usher, ... },
            { env = { USHER_ADDR = addresses }, out = ("%s/started-%d.log"):format(c.dir, started) })
    end

    -- The journey of the README: write, test, one fails, mend, rehearse, deploy, refused, back.
    it("takes a new author from the first rule to the rollback", function()
        cluster.write(dir .. "/policy.lua", LIMIT:format(5))
        cluster.write(dir .. "/policy_spec.lua", [[
            local test = require "usher.test"
            it("sells four seats to a customer", function()
                local house = test.house { policy = "policy.lua", rows = { "A: .....|.....", "B: .........." } }
                house:grants "hold 1 ann A1..A4"
                house:refuses("hold 1 ann B1", "max_per_customer")
            end)]])
        assert.equal(0, (c:run("book", "1", "zoe", "A6..A10")))
        local status, out = c:run("policy", "test", dir)
        assert.equal(1, status)
        has(out, "would be granted B1, though it should be refused")
        -- Untested means undeployed.
        local err
        status, out, err = c:run("policy", "deploy", dir)
        assert.equal(1, status, out)
        has(err, "the specs of " .. dir .. " fail: nothing was deployed")
        assert.equal(0, newest())
        cluster.write(dir .. "/policy.lua", LIMIT:format(4))
        assert.equal(0, (c:run("policy", "test", dir)))
        status, out, err = c:run("policy", "rehearse", dir, "-w", "json")
        assert.equal(0, status, err)
        local report = json.decode(out)
        assert.equal(1, report.refused_now.count)
        assert.equal(5, report.refused_now.seats)
        assert.equal("max_per_customer", report.rules[1].rule)
        assert.equal("book 1 zoe A6..A10", report.examples[1].command)
        assert.truthy(report.serving.before.probes > 0)
        status, out, err = c:run("policy", "deploy", dir, "-w", "json")
        assert.equal(0, status, err)
        assert.equal(1, json.decode(out).version)
        assert.equal(json.decode(out).sha256, everywhere(1))
        local dry = select(2, c:run("book", "1", "max", "B3", "--dry-run", "-w", "json"))
        assert.same({ "max_per_customer", "no_orphans" },
            { json.decode(dry).rules[1].rule, json.decode(dry).rules[2].rule })
        status, out, err = c:run("book", "1", "max", "B1..B5")
        assert.equal(1, status, out)
        has(err, "LIMIT at most 4 seats for each customer")
        status, out, err = c:run("book", "1", "max", "B1..B4", "-w", "json")
        assert.equal(0, status, err)
        local why = c:must(2, "explain", json.decode(out).order)
        assert.equal(1, why.policy.version)
        assert.same({ "max_per_customer", "no_orphans" }, why.current_rules[1].rules)
        assert.truthy(why.changed_index > 0)
        assert.same({ 1, 1 }, { why.changed_policy, why.current_policy })
        local held = c:must(1, "hold", "1", "otto", "A4", "A5").order
        cluster.write(c.dir .. "/worse.lua",
            "return policy { rules = { function() return nil, 'sold to nobody' end } }")
        assert.equal(0, (c:run("policy", "deploy", c.dir .. "/worse.lua")))
        everywhere(2)
        has(select(3, c:run("book", "1", "nina", "B5")), "sold to nobody")
        c:must(3, "confirm", held) -- by then another policy is active: a bare function judges no confirm
        why = c:must(1, "explain", held)
        assert.same({ 1, 2, 2 }, { why.policy.version, why.changed_policy, why.current_policy })
        status, out, err = c:run("policy", "rollback", "-w", "json")
        assert.equal(0, status, err)
        assert.equal(3, json.decode(out).version)
        assert.equal(1, json.decode(out).restored)
        everywhere(3)
        assert.equal(0, (c:run("book", "1", "nina", "B5", "B6")))
    end)

    it("lists, shows and compares what is kept", function()
        local list = c:must(1, "policy", "list")
        assert.equal(3, list[1].version)
        assert.is_true(list[1].active)
        assert.same({ "limit", 1 }, { list[1].name, list[1].restored })
        assert.is_nil(list[2].restored)
        has(select(2, c:run("policy", "list", "-w", "csv")),
            "version,active,name,restored,author,time,sha256,files,bytes\n")
        has(c:call(2, "policy", "show", "2"), "sold to nobody")
        local _, out = c:run("policy", "diff", c.dir .. "/worse.lua")
        has(out, '- local rules = require "usher.rules"')
        has(out, "+ return policy { rules = { function()")
        _, out = c:run("policy", "diff", dir)
        has(out, "no difference")
        has(c:call(3, "policy", "diff", "1", "3"), "no difference")
        -- What is active already makes no version.
        _, out = c:run("policy", "deploy", dir, "-w", "json")
        assert.is_true(json.decode(out).already)
        assert.equal(3, newest())
    end)

    it("takes a word for a path wherever files are read, and says which is not there", function()
        for _, verb in ipairs { "check", "diff", "rehearse", "deploy" } do
            local status, _, err = c:run("policy", verb, "nosuch")
            assert.equal(2, status, verb)
            has(err, "cannot read the policy nosuch: No such file or directory")
            status, _, err = c:run("console", "-c", "policy " .. verb .. " nosuch")
            assert.equal(1, status, verb)
            has(err, "cannot read the policy nosuch: No such file or directory")
        end
        has(c:call(1, "policy", "diff", "return policy {}"), "+ return policy {}")
        has(select(2, c:run("console", "-c", 'policy diff "return policy {}"')), "+ return policy {}")
    end)

    it("checks words and options before any spec is run, and calls itself by its own name", function()
        local before = newest()
        for wrong, said in pairs {
            ["deploy " .. dir .. " mine"] = "BADARG policy deploy takes one path",
            ["deploy " .. dir .. " --expct 3"] = "BADARG policy deploy has no option --expct; did you mean --expect?",
            ["deploy " .. dir .. " --expect x"] = "BADARG policy deploy: --expect takes a version's number",
            ["deploy " .. dir .. " --expect"] = "BADARG policy deploy: --expect takes a version's number",
            ["deploy " .. dir .. " --author"] = "BADARG policy deploy: --author takes a value",
            ["rollback abc"] = "BADARG policy rollback takes a version's number",
            ["rollback 1 2"] = "BADARG policy rollback takes at most a version",
            ["rollback --no-test"] = "BADARG policy rollback has no option --no-test",
        } do
            local words = { "policy" }
            for word in wrong:gmatch("%S+") do words[#words + 1] = word end
            local status, out, err = c:run(table.unpack(words))
            assert.equal(2, status, wrong)
            has(err, said)
            assert.equal("", out)
            assert.is_nil(err:find("1 success", 1, true) or err:find("-policy", 1, true), err)
        end
        assert.equal(before, newest())
        local _, out = c:run("policy", "deploy", dir, "--no-test", "--expect=" .. before, "-w", "json")
        assert.is_true(json.decode(out).already)
    end)

    it("counts the bytes of the files, in a check as in the list", function()
        has(select(2, c:run("policy", "check", dir)), ("is right: 1 file, %d bytes"):format(#LIMIT:format(4)))
        assert.equal(#LIMIT:format(4), c:must(1, "policy", "list")[1].bytes)
    end)

    it("says what is compared and what is not kept", function()
        local reply, why = c:call(1, "policy", "diff")
        assert.is_nil(reply)
        has(why, "BADARG policy diff takes a bundle or one or two versions")
        has(c:call(1, "policy", "diff", "1", "3"), "no difference between version 1 and version 3")
        has(select(2, c:run("policy", "diff", dir)), "no difference between version 3 and yours")
        for _, verb in ipairs { "show", "diff", "rollback", "rehearse" } do
            reply, why = c:call(1, "policy", verb, "99")
            assert.is_nil(reply)
            has(why, "NOTFOUND version 99 is not kept; `policy list` shows what is")
        end
        has(select(2, c:run("help", "policy")), "--no-test")
    end)

    it("refuses broken bundles with file and line, and goes on serving", function()
        local before = newest()
        for text, wanted in pairs {
            ["return policy {"] = "BADARG policy.lua:1: ",
            ["\nreturn policy { nmae = 1 }"] = "BADARG policy.lua:2: policy: unknown key 'nmae'",
            ["local t = {}\nt.x.y = 1"] = "BADARG policy.lua:2: attempt to index a nil value",
            ["while true do end"] = "ran over its budget of",
            ["local s = 'x' while true do s = s .. s end"] = "policy.lua:1: it ran out of memory",
            ['return policy { commands = { command { name = "status", run = function() end } } }'] =
                "command 'status': that name belongs to the node",
            ['return policy { commands = { command { name = "rollback-policy", run = function() end } } }'] =
                "command 'rollback-policy': that name belongs to the node",
            ['{"main.lua":"return policy{}"}'] = "there is no policy.lua",
            ['{"policy.lua":"return require [[sub]]", "sub.lua":"\\n\\nerror [[no]]"}'] = "BADARG sub.lua:3: no",
        } do
            local reply, why = c:call(2, "policy", "deploy", text)
            assert.is_nil(reply)
            assert.truthy(why:find(wanted, 1, true), why)
        end
        assert.equal(before, newest())
        assert.equal(0, (c:run("hold", "1", "otto", "B7", "B8")))
    end)

    it("keeps serving and lets itself be replaced when the active policy loops or fails", function()
        for text, wanted in pairs {
            ["return policy { rules = { function() while true do end end } }"] = "ran over its budget",
            ["return policy { rules = { function() return nil + 1 end } }"] =
                "policy.lua:1: attempt to perform arithmetic",
        } do
            c:must(1, "policy", "deploy", text)
            everywhere(newest())
            for _ = 1, 3 do -- a slow machine may hold an election meanwhile: then it is asked again
                process.wait_for("the refusal of " .. text, 30, function()
                    local reply, why = c:call(1, "book", "1", "pia", "B9", "B10")
                    assert.is_nil(reply)
                    return tostring(why):find(wanted, 1, true) ~= nil, why
                end)
            end
            process.wait_for("seats are shown", 20, function() return c:json(2, "seats", "1") end)
            local status, _, err = c:run("policy", "rollback", "3")
            assert.equal(0, status, err)
            c:ready()
            everywhere(newest())
            local out
            status, out, err = c:run("hold", "1", "pia", "B9", "B10", "-w", "json")
            assert.equal(0, status, err)
            assert.equal(0, (c:run("release", json.decode(out).order)))
        end
    end)

    it("gives CONFLICT to the second of two deploys that saw the same version", function()
        local seen = newest()
        cluster.write(c.dir .. "/other.lua", "return policy { name = 'other' }")
        local both = {
            start(c:addresses(), "policy", "deploy", c.dir .. "/worse.lua", "--expect", tostring(seen)),
            start(c:addresses(), "policy", "deploy", c.dir .. "/other.lua", "--expect", tostring(seen)),
        }
        local done, refused = {}, nil
        for i, one in ipairs(both) do
            done[i] = one:wait(30)
            if done[i] ~= 0 then refused = one end
        end
        assert.equal(1, done[1] + done[2], both[1]:output() .. both[2]:output())
        has(refused:output(), ("CONFLICT version %d was expected, but version %d of"):format(seen, seen + 1))
        assert.equal(seen + 1, newest())
        c:must(1, "policy", "rollback", tostring(seen))
    end)

    it("shows the default behaviour to copy from, and goes back to it from the first version", function()
        local d = cluster.new { n = 1 }
        finally(function() d:close() end)
        has(d:must(1, "policy", "show"), 'name = "default"')
        has(d:must(1, "policy", "show", "0", "--only", "take.lua"), 'name = "hold"')
        d:must(1, "add-event", "1", '[{"row":"A","seats":10}]')
        d:must(1, "policy", "deploy", LIMIT:format(4))
        assert.is_nil((d:call(1, "book", "1", "ann", "A1..A5")))
        has(d:must(1, "policy", "diff", "0", "1"), "+ return policy { name = \"limit\"")
        local back = d:must(1, "policy", "rollback")
        assert.same({ 2, 1, 0 }, { back.version, back.before, back.restored })
        assert.equal("booked", d:must(1, "book", "1", "ann", "A1..A5").status)
        has(d:must(1, "policy", "diff", "0", "2"), "no difference")
    end)

    it("is for administrators", function()
        local d = cluster.new { n = 1, profile = [[users = { app = { password = "x", access = "client" },
            boss = { password = "y", access = "admin" } }]], start = false }
        d:start(1)
        finally(function() d:close() end)
        local client = process.wait_for("it serves", 20, function()
            local one = d:connect(1)
            if one and one:call("AUTH", "boss", "y") and one:call("policies") then return one end
        end)
        assert.equal(1, json.decode((client:call("policy", "deploy", "return policy{}"))).version)
        assert.equal("boss", json.decode((client:call("policies")))[1].author)
        assert.truthy(client:call("AUTH", "app", "x"))
        local reply, why = client:call("policy", "list")
        assert.is_nil(reply)
        has(why, "NOPERM")
        reply, why = client:call("deploy-policy", "return policy{}")
        assert.is_nil(reply)
        has(why, "NOPERM")
        client:close()
        for _, words in ipairs { { "deploy", dir, "--no-test" }, { "rollback" } } do
            local status, _, err = process.run({ cluster.usher, "policy", "--user", "app", table.unpack(words) },
                { env = { USHER_ADDR = d:addresses(), USHER_PASSWORD = "x" } })
            assert.equal(1, status)
            has(err, ("NOPERM `policy %s` needs access `admin`"):format(words[1]))
        end
    end)

    -- Bookings go on through the two others while the leader dies in the middle of a deploy.
    it("is one version everywhere although the leader dies in the middle, under load", function()
        c:must(1, "add-event", "load", '[{"row":"L","seats":2000}]')
        local before = newest()
        local leader = c:leader()
        local loads = {}
        for k = 1, 2 do
            local script = ("for i = 1, 400 do assert(usher.book('load', 'l%d-' .. i, 'L' .. %s)) end")
                :format(k, k == 1 and "i" or "(2001 - i)")
            local path = ("%s/load-%d.lua"):format(c.dir, k)
            cluster.write(path, script)
            loads[k] = start(c.nodes[leader % 3 + 1].address .. "," .. c.nodes[(leader + 1) % 3 + 1].address,
                "run", path)
        end
        process.wait_for("bookings arrive", 20, function()
            local seats = c:json(1, "seats", "load")
            return seats and seats.counts.booked > 40, loads[1]:output() .. loads[2]:output()
        end)
        cluster.write(c.dir .. "/six.lua", LIMIT:format(6))
        local deploy = start(c:addresses(), "policy", "deploy", c.dir .. "/six.lua", "--expect", tostring(before))
        c:kill(leader)
        assert.equal(0, deploy:wait(60), deploy:output())
        for _, load in ipairs(loads) do assert.equal(0, load:wait(120), load:output()) end
        c:start(leader)
        c:ready(60)
        everywhere(before + 1)
        assert.equal(before + 1, newest())
        assert.equal(before + 1, c:must(leader, "policies")[1].version)
        -- Orders behind the deploy's entry were judged by it, those before it were not.
        local at = 0
        for _, order in ipairs(c:must(1, "orders", "--event", "load", "--linearizable")) do
            local why = c:must(1, "explain", order.order)
            assert.truthy(why.policy.version == before or why.policy.version == before + 1)
            if why.policy.version == before then at = math.max(at, why.changed_index) end
        end
        for _, order in ipairs(c:must(1, "orders", "--event", "load", "--linearizable")) do
            local why = c:must(1, "explain", order.order)
            if why.policy.version == before + 1 then assert.truthy(why.changed_index > at) end
        end
    end)

    -- The kill comes after 0/4, 1/4 ... of the time that a deploy takes here: before it is sent, while it is
    -- judged, committed, loaded, or answered.
    it("is one version everywhere wherever in a deploy the leader dies, and no booking fails", function()
        local function deploy(k, before)
            cluster.write(c.dir .. "/step.lua", LIMIT:format(20 + k) .. "-- " .. before)
            return start(c:addresses(), "policy", "deploy", c.dir .. "/step.lua", "--expect", tostring(before))
        end
        local began = uv.hrtime()
        assert.equal(0, deploy(9, newest()):wait(60))
        local whole_ms = (uv.hrtime() - began) / 1e6
        c:must(1, "add-event", "steps", '[{"row":"L","seats":2000}]')
        for k = 0, 4 do
            c:ready(60)
            local before, leader = newest(), c:leader()
            local path = ("%s/steps-%d.lua"):format(c.dir, k)
            cluster.write(path, ("for i = 1, 200 do assert(usher.book('steps', 'k%d-' .. i, 'L' .. %d + i)) end")
                :format(k, k * 200))
            local load = start(c.nodes[leader % 3 + 1].address, "run", path)
            process.wait_for("bookings arrive", 20, function()
                local seats = c:json(leader % 3 + 1, "seats", "steps")
                return seats and seats.counts.booked > k * 200, load:output()
            end)
            local deployed = deploy(k, before)
            uv.sleep(math.floor(whole_ms * k / 4))
            c:kill(leader)
            assert.equal(0, deployed:wait(60), deployed:output())
            assert.equal(0, load:wait(60), load:output())
            c:start(leader)
            c:ready(60)
            everywhere(before + 1)
            assert.equal(before + 1, newest())
            assert.equal((k + 1) * 200, c:must(leader, "seats", "steps", "--linearizable").counts.booked)
        end
    end)

    it("comes back after a restart of everything, with its old versions", function()
        local version, hash = newest(), everywhere(newest())
        for i in ipairs(c.nodes) do assert.equal(0, c:stop(i)) end
        for i in ipairs(c.nodes) do c:start(i) end
        c:ready(60)
        assert.equal(hash, everywhere(version))
        assert.truthy(#c:must(2, "policies") > 5)
    end)
end)
