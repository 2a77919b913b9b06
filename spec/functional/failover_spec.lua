--- Leaders die, clusters restart, nodes stall: nothing acknowledged is lost, nothing is sold
--- twice, no stale linearizable read.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local json = require "cjson"
local silent = require "spec.support.silent"

--- Keeps `lanes` connections booking distinct seats of event "1" with request ids, each lane
--- retrying an unknown outcome with the same id through the next node, until stopped.
local function load(c, lanes)
    local self = { acknowledged = {}, refused = {}, lanes = {}, answers = 0, longest = 0 }
    local last = process.now()
    for k = 1, lanes do self.lanes[k] = { at = (k - 1) % c.n + 1, next = k, sent = false } end

    local function reconnect(lane)
        if lane.client then lane.client:close() end
        lane.client, lane.sent = nil, false
        lane.at = lane.at % c.n + 1
    end

    local function finish(lane, reply, why)
        local seat = lane.seat
        if reply then
            local order = json.decode(reply)
            assert(not self.acknowledged[seat] or self.acknowledged[seat] == order.order,
                seat .. " was acknowledged twice with different orders")
            self.acknowledged[seat] = order.order
        elseif why:match("^TAKEN") or why:match("^CONFLICT") then
            self.refused[#self.refused + 1] = { seat = seat, why = why }
        else
            return false
        end
        self.answers = self.answers + 1
        self.longest = math.max(self.longest, process.now() - last)
        last = process.now()
        lane.seat = nil
        return true
    end

    --- One round over all lanes.
    function self.step()
        for _, lane in ipairs(self.lanes) do
            if not lane.client then
                lane.client = c:running(lane.at) and not c.nodes[lane.at].paused and c:connect(lane.at, 5) or nil
                if not lane.client then reconnect(lane) end
            end
            if lane.client and not lane.sent then
                if not lane.seat then
                    lane.seat = ("R%d-%d"):format((lane.next - 1) // 100 + 1, (lane.next - 1) % 100 + 1)
                    lane.next = lane.next + lanes
                end
                lane.sent = lane.client:send("book", "1", "u" .. lane.seat, lane.seat, "--request", "q-" .. lane.seat)
                if not lane.sent then reconnect(lane) end
            end
        end
        for _, lane in ipairs(self.lanes) do
            if lane.client and lane.sent then
                local reply, why = lane.client:receive(2)
                lane.sent = false
                if not reply and not finish(lane, nil, why) then
                    reconnect(lane)
                elseif reply then
                    finish(lane, reply)
                end
            end
        end
    end

    function self.run(seconds)
        local deadline = process.now() + seconds
        while process.now() < deadline do self.step() end
    end

    function self.close()
        for _, lane in ipairs(self.lanes) do
            if lane.client then lane.client:close() end
        end
    end
    return self
end

local function rows()
    local list = {}
    for i = 1, 200 do list[i] = { row = "R" .. i .. "-", seats = 100 } end
    return json.encode(list)
end

--- Every acknowledged booking is in the cluster, by its order; no refusal without a booking.
local function verify(c, work)
    local seats = c:must(c:leader(), "seats", "1", "--linearizable")
    local count = 0
    for seat, order in pairs(work.acknowledged) do
        count = count + 1
        assert(seats.taken[seat] == "booked", seat .. " was acknowledged and is not booked")
        if count % 50 == 1 then
            local seen = c:must(c:leader(), "order", order)
            assert.equal(seat, seen.seats[1].seat)
            assert.equal("u" .. seat, seen.customer)
        end
    end
    for _, refusal in ipairs(work.refused) do
        error(refusal.seat .. " was refused (" .. refusal.why .. "), though only its own retries wanted it")
    end
    assert(count > 0, "nothing was acknowledged")
    return count
end

describe("failover", function()
    local c
    before_each(function()
        c = cluster.new()
        c:must(1, "add-event", "1", rows())
    end)
    after_each(function() c:close() end)

    it("serves again within 2 s after kill -9 of the leader under load, and loses nothing", function()
        local work = load(c, 8)
        work.run(1)
        local leader = c:leader()
        local before = work.answers
        c:kill(leader)
        local killed = process.now()
        process.wait_for("bookings go on", 10, function()
            work.step()
            return work.answers > before + 16
        end)
        local gap = process.now() - killed
        work.run(1)
        work.close()
        verify(c, work)
        print(("# service was back %.2f s after the leader was killed"):format(gap))
        c:start(leader)
        c:ready()
        verify(c, work)
    end)

    it("has every acknowledged booking after kill -9 of all three under load", function()
        local work = load(c, 8)
        work.run(1.5)
        for i = 1, 3 do c.nodes[i].process:kill() end
        for i = 1, 3 do c.nodes[i].process:wait(10) end
        for i = 1, 3 do c:start(i) end
        c:ready()
        work.run(0.5)
        work.close()
        verify(c, work)
    end)

    it("gives no stale linearizable read after the leader was stopped for 5 s", function()
        local leader = c:leader()
        local stale = assert(c:connect(leader, 30))
        assert(stale:call("ping"))
        c:pause(leader)
        assert(stale:send("seats", "1", "--linearizable")) -- waits in the paused node's socket
        local other = leader % 3 + 1
        process.wait_for("the others go on", 10, function()
            return (c:call(other, "book", "1", "ann", "R1-1", "--request", "pause-1"))
        end)
        local paused = process.now()
        process.poll(5, function() return process.now() - paused > 5 end)
        c:resume(leader)
        local reply, why = stale:receive(20)
        stale:close()
        if reply then
            assert.equal("booked", json.decode(reply).taken["R1-1"])
        else
            assert.truthy(why:match("^NOQUORUM") or why:match("^NOTREADY") or why:match("^UNKNOWN"), why)
        end
        c:ready()
    end)

    it("asks another node when one takes connections and answers nothing", function()
        local paused = c:leader()
        c:pause(paused)
        local at = { c.nodes[paused].address }
        for i = 1, 3 do
            if i ~= paused then at[#at + 1] = c.nodes[i].address end
        end
        local words = { cluster.usher, "book", "1", "ann", "R1-1", "--at", table.concat(at, ",") }
        local status, out, err = process.run(words, { seconds = 25 })
        assert.equal(0, status, out .. err)
        c:resume(paused)
        c:ready()
    end)

    it("asks again, with one effect, when a node falls silent over a command", function()
        local order
        local peer = silent.listen(function(bytes) -- the command itself is passed on
            local id = bytes:match("%-%-request\r\n%$%d+\r\n(%x+)\r\n")
            order = c:must(1, "book", "1", "ann", "R1-1", "--request", id).order
        end)
        local at = peer.address .. "," .. c.nodes[1].address
        local status, out, err = process.run({ cluster.usher, "book", "1", "ann", "R1-1", "--at", at, "-w", "json" },
            { seconds = 25 })
        peer.close()
        assert.equal(0, status, out .. err)
        assert.equal(order, json.decode(out).order)
    end)

    it("restarts node by node without an unacknowledged booking lost", function()
        local work = load(c, 4)
        for i = 1, 3 do
            work.run(0.3)
            assert.equal(0, c:stop(i))
            work.run(0.3)
            c:start(i)
            c:ready()
        end
        work.close()
        verify(c, work)
    end)
end)
