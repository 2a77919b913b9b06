-- What a cluster of real processes survives: every node killed under load, again and again; and a node
-- whose files are damaged, rebuilt from the others with one command.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local json = require "cjson"

local ROWS, SEATS = 26, 100

local function chart()
    local rows = {}
    for i = 1, ROWS do rows[i] = ('{"row":"%s","seats":%d}'):format(string.char(64 + i), SEATS) end
    return "[" .. table.concat(rows, ",") .. "]"
end

local function seat_name(n) return ("%s%d"):format(string.char(65 + n // SEATS), n % SEATS + 1) end

local c, next_seat
local booked = {} -- seat -> order, as acknowledged

--- Books seats through node i, `window` in flight on one connection, until `enough(acknowledged)` or
--- the connection breaks; keeps what was acknowledged.
local function load(i, window, enough)
    local client = assert(c:connect(i, 20))
    local waiting, count = {}, 0
    while true do
        while #waiting < window and next_seat < ROWS * SEATS do
            local seat = seat_name(next_seat)
            next_seat = next_seat + 1
            if not client:send("BOOK", "1", "ann", seat, "--request", "r-" .. seat) then return count end
            waiting[#waiting + 1] = seat
        end
        if #waiting == 0 or enough(count) then break end
        local reply, why = client:receive()
        if reply then
            booked[waiting[1]] = json.decode(reply).order
            count = count + 1
        elseif why == "closed" or why == "timeout" then
            break
        end
        table.remove(waiting, 1)
    end
    client:close()
    return count
end

local function check_all_booked(i)
    local seats = c:must(i, "seats", "1", "--linearizable")
    local n = 0
    for seat, order in pairs(booked) do
        n = n + 1
        assert.equal("booked", seats.taken[seat], seat .. " of " .. order)
    end
    assert.is_true(seats.counts.booked >= n)
    return n
end

describe("a cluster", function()
    setup(function()
        c = cluster.new()
        next_seat = 0
        c:must(1, "add-chart", "hall", chart())
        c:must(1, "add-event", "1", "hall")
    end)
    teardown(function() c:close() end)

    it("has everything it acknowledged after kill -9 of all nodes under load, three times", function()
        for round = 1, 3 do
            local i = round == 1 and c:leader() or c:follower()
            local before = next_seat
            local n = load(i, 64, function(count) return count >= 200 end)
            assert.is_true(n >= 200, ("only %d of %d were acknowledged"):format(n, next_seat - before))
            -- 64 bookings are in flight at this moment.
            for k = 1, 3 do c.nodes[k].process:kill() end
            for k = 1, 3 do c.nodes[k].process:wait(10) end
            for k = 1, 3 do c:start(k) end
            c:ready()
            for k = 1, 3 do assert.equal(round * 200, check_all_booked(k)) end
            -- The same request ids again: one effect each, whatever became of them.
            local seat = next(booked)
            local again = c:must(1, "book", "1", "ann", seat, "--request", "r-" .. seat)
            assert.equal(booked[seat], again.order)
        end
    end)

    it("rebuilds a damaged node from the others with one command", function()
        local i = c:follower()
        assert.equal(0, c:stop(i))
        local address = c.nodes[i].address
        local dir = ("%s/default/%s"):format(c.dir, address)
        local old = c:must(i % 3 + 1, "nodes")
        local log = dir .. "/log-0000000000000001"
        local file = assert(io.open(log, "r+b"))
        file:seek("set", 3000)
        file:write("damage")
        file:close()

        -- It refuses to run, says what is damaged, and offers the command.
        c:start(i)
        assert.equal(1, c.nodes[i].process:wait(60))
        local words = c.nodes[i].process:output()
        assert.matches("log%-0000000000000001 at offset %d+: a record is damaged that was durable", words)
        assert.matches("usher node %-%-id N %-%-rebuild", words)

        c:start(i, "--rebuild")
        process.wait_for("the node is a voter again and has caught up", 120, function()
            local nodes = c:running(i) and c:json(i, "nodes")
            for _, member in ipairs(nodes or {}) do
                if member.address == address and member.role == "voter" and member.reachable then
                    local status = c:json(i, "status")
                    local leader = c:json(c:leader(), "status")
                    return status and leader and status.applied == leader.applied
                end
            end
        end)
        local now = c:must(i, "nodes")
        assert.equal(3, #now)
        for _, member in ipairs(now) do
            for _, before in ipairs(old) do
                -- Another id in the same place: the old one never votes again.
                if member.address == before.address and member.address == address then
                    assert.not_equal(before.id, member.id)
                end
            end
        end
        assert.is_true(check_all_booked(i) >= 600)
        assert.matches("the old files are in .*%.damaged%-", c.nodes[i].process:output())
        local kept = io.popen(("ls -d '%s'.damaged-*"):format(dir)):read("a")
        local status, _, err = process.run { cluster.usher, "check", (kept:gsub("\n.*", "")) }
        assert.equal(1, status)
        assert.matches("a record is damaged", err)

        -- The cluster stands without another node now: the rebuilt one counts.
        local gone = i % 3 + 1
        c:kill(gone)
        process.wait_for("two of three serve", 90, function()
            local seat = seat_name(next_seat)
            next_seat = next_seat + 1
            return c:json(i, "book", "1", "bob", seat, "--request", "r-" .. seat)
        end)
        c:start(gone)
        c:ready()
    end)

    it("does not rebuild a running node, nor a lonely one", function()
        local status, _, err = process.run { cluster.usher, "node", "--id", "0", "--file", c.config, "--rebuild",
            "--no-console" }
        assert.equal(1, status)
        assert.matches("^CONFLICT the data directory .* is in use by a running node", err)
        local dir = cluster.directory()
        cluster.write(dir .. "/config.lua", ('return { default = { "localhost:%d" } }'):format(cluster.free_port()))
        status, _, err = process.run { cluster.usher, "node", "--id", "0", "--file", dir .. "/config.lua", "--rebuild",
            "--no-console", "--data", dir .. "/data" }
        assert.equal(1, status)
        assert.matches("is the only node of the profile: nobody to rebuild from; restore a backup", err)
        os.execute("rm -rf '" .. dir .. "'")
    end)
end)
