--- Backups: taken while the cluster serves, whole or not at all, and restored into a new one.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local json = require "cjson"

local read = require("spec.support.files").read

local function exists(path)
    local file = io.open(path, "rb")
    if file then file:close() end
    return file ~= nil
end

--- Everything of the cluster that a user can see, with what is different by nature left out.
local function contents(c, i)
    local all = { events = {} }
    for _, event in ipairs(c:must(i, "events", "--linearizable")) do
        local seats = c:must(i, "seats", event.event, "--linearizable")
        all.events[event.event] = { event = event, taken = seats.taken, counts = seats.counts }
    end
    all.orders = c:must(i, "orders", "--linearizable")
    for _, order in ipairs(all.orders) do all[order.order] = c:must(i, "order", order.order) end
    for _, key in ipairs(c:must(i, "keys", "--linearizable")) do all["kv " .. key] = c:must(i, "get", key) end
    return all
end

--- Alters the copy of a file; returns the copy's path.
local function damaged(path, name, change)
    local copy = path .. "." .. name
    local file = assert(io.open(copy, "wb"))
    file:write(change(read(path)))
    file:close()
    return copy
end

describe("a backup", function()
    local c, restored, dir, policy
    local first -- taken at rest
    setup(function()
        policy = cluster.directory()
        cluster.write(policy .. "/policy.lua", [[
            local rules = require "usher.rules"
            return policy {
                name = "four-each", hold_ttl = "1h", hold_max = "2h", rules = { rules.max_per_customer(4) },
            }
        ]])
        c = cluster.new { profile = ("policy = %q"):format(policy .. "/policy.lua") }
        dir = c.dir
        c:must(1, "add-event", "1", '[{"row":"A","seats":100},{"row":"B","seats":100}]')
        c:must(2, "book", "1", "ann", "A1", "A2", "--request", "ann-1")
        c:must(3, "hold", "1", "bob", "A5", "--ttl", "1h", "--metadata", '{"note":"aisle"}')
        local gone = c:must(1, "book", "1", "carl", "B7").order
        c:must(1, "cancel", gone)
        c:must(1, "set", "presale", '{"codes":["FAN"]}')
        first = dir .. "/first.usher"
    end)
    teardown(function()
        if restored then restored:close() end
        c:close()
        os.execute("rm -rf '" .. policy .. "'")
    end)

    it("is written where the operator is, from any node, with what it holds", function()
        local status, out, err = c:run("backup", first, "--at", c.nodes[c:follower()].address, "-w", "json")
        assert.are.equal(0, status, err)
        local facts = json.decode(out)
        local now = c:must(c:leader(), "status")
        assert.are.equal(first, facts.file)
        assert.are.equal(now.digest, facts.digest)
        assert.are.equal(now.cluster, facts.cluster)
        assert.are.equal(#read(first), facts.bytes)
        assert.is_true(facts.index >= 6)
        assert.truthy(err:find("usher restore", 1, true), err)
        assert.is_false(exists(first .. ".part"))
    end)

    it("never overwrites a file", function()
        local before = read(first)
        local status, _, err = c:run("backup", first)
        assert.are.equal(1, status)
        assert.truthy(err:find("^CONFLICT .* is there already"), err)
        assert.are.equal(before, read(first))
    end)

    it("names what is wrong with the place it should go to", function()
        local status, _, err = c:run("backup", dir .. "/no/such/dir/file")
        assert.are.equal(1, status)
        assert.truthy(err:find("no/such/dir", 1, true), err)
    end)

    it("works in a console too, and stays with the node over RESP", function()
        local file = dir .. "/console.usher"
        local status, out, err = c:run("console", "-c", "backup " .. file)
        assert.are.equal(0, status, out .. err)
        assert.is_true(exists(file))
        local facts = c:must(2, "backup", "night.usher")
        assert.truthy(facts.file:find("/backups/night.usher$"), facts.file)
        assert.are.equal(facts.bytes, #read(facts.file))
        status, out, err = c:run("console", "-c", [[= usher.backup{file="lua.usher"}.bytes]])
        assert.are.equal(0, status, err)
        assert.is_true(tonumber(out) > 512, out)
        local reply, why = c:call(2, "backup", "night.usher")
        assert.is_nil(reply)
        assert.truthy(why:find("^CONFLICT"), why)
        reply, why = c:call(2, "backup", "../night.usher")
        assert.is_nil(reply)
        assert.truthy(why:find("^BADARG .* is no file name"), why)
    end)

    it("refuses without a majority, unless what the node has is enough", function()
        local leader = c:leader()
        local a, b = leader % 3 + 1, (leader + 1) % 3 + 1
        c:kill(a)
        c:kill(b)
        local at = c.nodes[leader].address
        local status, _, err = c:run("backup", dir .. "/alone.usher", "--at", at)
        assert.are.equal(1, status)
        assert.truthy(err:find("^NOQUORUM"), err)
        assert.truthy(err:find("--stale", 1, true), err)
        assert.is_false(exists(dir .. "/alone.usher"))
        assert.is_false(exists(dir .. "/alone.usher.part"))
        status, _, err = c:run("backup", dir .. "/alone.usher", "--stale", "--at", at)
        assert.are.equal(0, status, err)
        assert.is_true(exists(dir .. "/alone.usher"))
        c:start(a)
        c:start(b)
        c:ready()
    end)

    it("becomes a new cluster with the same contents", function()
        restored = cluster.new { n = 1, start = false }
        local data = restored.dir .. "/default/" .. restored.nodes[1].address
        local status, out, err = c:run("restore", first, "--file", restored.config, "--data", data, "-w", "json")
        assert.are.equal(0, status, err)
        local facts = json.decode(out)
        assert.are_not.equal(facts.from_cluster, facts.cluster)
        assert.truthy(err:find("usher add-node", 1, true), err)
        restored:start(1)
        restored:ready()
        assert.are.same(contents(c, 1), contents(restored, 1))
        local now, new = c:must(1, "status"), restored:must(1, "status")
        assert.are.equal(now.digest, new.digest)
        assert.are.equal(facts.cluster, new.cluster)
        assert.are.equal(now.policy.hash, new.policy.hash)
        -- A result is remembered: the same request is answered, not done again.
        local again = restored:must(1, "book", "1", "ann", "A1", "A2", "--request", "ann-1")
        assert.are.equal("booked", again.status)
        -- The policy works on: at most 4 per customer.
        local reply, why = restored:call(1, "book", "1", "dora", "B1", "B2", "B3", "B4", "B5")
        assert.is_nil(reply)
        assert.truthy(why:find("^LIMIT") or why:find("^DENIED"), why)
        assert.truthy(restored:call(1, "book", "1", "dora", "B1"))
    end)

    it("is restored into an empty directory only", function()
        local data = restored.dir .. "/default/" .. restored.nodes[1].address
        local status, _, err = c:run("restore", first, "--file", restored.config, "--data", data)
        assert.are.equal(1, status)
        assert.truthy(err:find("^CONFLICT .* is not empty"), err)
        assert.truthy(restored:call(1, "events", "--linearizable")) -- and it goes on
    end)

    it("that is damaged in any way is refused with the place, and nothing is made", function()
        local bytes = #read(first)
        local cases = {
            { "cut", function(b) return b:sub(1, -2) end, "its end is missing" },
            { "half", function(b) return b:sub(1, #b // 2) end, "its end is missing" },
            { "stub", function(b) return b:sub(1, 100) end, "cut short" },
            { "longer", function(b) return b .. "x" end, "its end is missing" },
            { "header", function(b) return b:sub(1, 30) .. string.char(b:byte(31) ~ 1) .. b:sub(32) end, "its header" },
            { "other", function() return "not a backup at all" end, "is not a backup of usher" },
            { "empty", function() return "" end, "is not a backup of usher" },
        }
        for k = 1, 12 do
            local at = 513 + (bytes - 513) * k // 13
            cases[#cases + 1] = { "bit" .. k, function(b)
                return b:sub(1, at - 1) .. string.char(b:byte(at) ~ (1 << k % 8)) .. b:sub(at + 1)
            end, first }
        end
        for _, case in ipairs(cases) do
            local file = damaged(first, case[1], case[2])
            local target = restored.dir .. "/target-" .. case[1]
            local status, out, err = c:run("restore", file, "--file", restored.config, "--data", target)
            assert.are.equal(1, status, case[1] .. ": " .. out .. err)
            assert.truthy(err:find(case[3], 1, true), case[1] .. ": " .. err)
            assert.is_false(exists(target .. "/identity"))
            assert.is_false(exists(target .. ".restoring/identity"))
        end
        local status, _, err = c:run("restore", dir .. "/nothing", "--file", restored.config, "--data", dir .. "/t")
        assert.are.equal(1, status)
        assert.truthy(err:find("nothing", 1, true), err)
    end)

    it("under load holds every booking that was acknowledged before it was asked for", function()
        local lanes, done, file = {}, {}, dir .. "/load.usher"
        c:must(1, "add-event", "2", '[{"row":"A","seats":2000}]')
        for k = 1, 3 do lanes[k] = { client = assert(c:connect(k)), next = k } end
        local function step()
            for _, lane in ipairs(lanes) do
                lane.seat = "A" .. lane.next
                lane.next = lane.next + #lanes
                assert(lane.client:send("book", "2", "u" .. lane.seat, lane.seat))
            end
            for _, lane in ipairs(lanes) do
                local reply = json.decode((assert(lane.client:receive())))
                done[lane.seat] = reply.order
            end
        end
        for _ = 1, 20 do step() end
        local acknowledged = {}
        for seat, order in pairs(done) do acknowledged[seat] = order end
        local running = process.start({ cluster.usher, "backup", file, "--at", c.nodes[c:follower()].address },
            { out = dir .. "/backup.log" })
        process.wait_for("the backup ends", 30, function()
            if lanes[1].next < 1900 then step() end
            return running:ended()
        end)
        assert.are.equal(0, running:ended(), running:output())
        for _, lane in ipairs(lanes) do lane.client:close() end
        local new = cluster.new { n = 1, start = false }
        local data = new.dir .. "/default/" .. new.nodes[1].address
        local status, _, err = c:run("restore", file, "--file", new.config, "--data", data)
        assert.are.equal(0, status, err)
        new:start(1)
        new:ready()
        local taken = new:must(1, "seats", "2", "--linearizable").taken
        for seat, order in pairs(acknowledged) do
            assert.are.equal("booked", taken[seat], seat .. " was acknowledged before the backup began")
            assert.are.equal(seat, new:must(1, "order", order).seats[1].seat)
        end
        for seat in pairs(taken) do assert.truthy(done[seat] or lanes[1].next > 0, seat) end
        new:close()
    end)

    it("needs access admin, over the stream and by the command", function()
        local guarded = cluster.new { n = 1, start = false,
            profile = [[users = { app = { password = "a", access = "client" },
                root = { password = "r", access = "admin" } }]] }
        guarded:start(1)
        local file = guarded.dir .. "/guarded.usher"
        local function run(user, password)
            return process.run({ cluster.usher, "backup", file, "--user", user, "--at", guarded.nodes[1].address },
                { env = { USHER_PASSWORD = password } })
        end
        process.wait_for("the node serves", 20, function() return (run("root", "r")) == 0 end)
        os.remove(file)
        local status, _, err = run("app", "a")
        assert.are.equal(1, status)
        assert.truthy(err:find("^NOPERM a backup needs access `admin`"), err)
        assert.is_false(exists(file) or exists(file .. ".part"))
        local client = assert(guarded:connect(1))
        local reply, why = client:call("USHER.BACKUP")
        assert.is_nil(reply)
        assert.truthy(why:find("^NOAUTH"), why)
        reply, why = client:call("backup", "x.usher")
        assert.is_nil(reply)
        assert.truthy(why:find("^NOAUTH"), why)
        client:close()
        guarded:close()
    end)

    it("is given up without harm when its taker goes away or never reads", function()
        local client = assert(c:connect(1))
        for k = 1, 60 do
            assert(client:call("set", "big" .. k, json.encode(("x"):rep(60000))))
        end
        client:close()
        local away, lazy = assert(c:connect(1)), assert(c:connect(1))
        assert(away:send("USHER.BACKUP"))
        assert.are.equal("data", assert(away:receive(20))[1])
        away:close()
        assert(lazy:send("USHER.BACKUP")) -- and reads nothing yet
        for k = 1, 20 do assert.truthy(c:call(1, "get", "big" .. k)) end
        local bytes, pieces = 0, 0
        while true do
            local frame = assert(lazy:receive(20))
            if frame[1] == "done" then
                assert.are.equal(0, frame[2])
                assert.are.equal(bytes, json.decode(frame[4]).bytes)
                break
            end
            bytes, pieces = bytes + #frame[2], pieces + 1
        end
        assert.is_true(bytes > 60 * 60000 and pieces > 8)
        lazy:close()
        local file = c.dir .. "/big.usher"
        local status, _, err = c:run("backup", file)
        assert.are.equal(0, status, err)
    end)

    it("by `snapshot` tells the entry and its size", function()
        local facts = c:must(2, "snapshot")
        assert.is_true(facts.snapshot > 0 and facts.bytes > 0)
        assert.are.equal(facts.snapshot, c:must(2, "status").snapshot)
    end)
end)
