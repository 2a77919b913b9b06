--- Orderly stops: a node that gets SIGTERM hands over, finishes what it has begun and ends with
--- status 0; a rolling restart under load fails no booking.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local json = require "cjson"

--- Clients that book distinct seats of event "1" one after the other. A booking that got no
--- answer is sent again under its request id to the next node; anything else that is not an
--- answer is a failure.
local function clients(c, count, seats)
    local self = { lanes = {}, booked = {}, failures = {}, retries = 0, bookings = 0 }
    for k = 1, count do self.lanes[k] = { at = (k - 1) % c.n + 1, next = k } end

    local function connect(lane)
        for _ = 1, c.n do
            lane.client = c:connect(lane.at, 10)
            if lane.client then return true end
            lane.at = lane.at % c.n + 1
        end
    end

    local function again(lane)
        self.retries = self.retries + 1
        if lane.client then lane.client:close() end
        lane.client = nil
        lane.at = lane.at % c.n + 1
    end

    local RETRY = { UNKNOWN = true, NOTREADY = true, NOQUORUM = true }

    --- One round: every lane sends, then every lane receives.
    function self.step()
        for _, lane in ipairs(self.lanes) do
            if not lane.seat and lane.next <= seats then
                lane.seat = ("R%d-%d"):format((lane.next - 1) // 100 + 1, (lane.next - 1) % 100 + 1)
                lane.next = lane.next + count
            end
            if lane.seat and (lane.client or connect(lane)) then
                lane.sent = lane.client:send("book", "1", "u" .. lane.seat, lane.seat, "--request", "q" .. lane.seat)
                if not lane.sent then again(lane) end
            end
        end
        for _, lane in ipairs(self.lanes) do
            if lane.client and lane.sent then
                local reply, why = lane.client:receive(15)
                lane.sent = nil
                if reply then
                    self.booked[lane.seat] = json.decode(reply).order
                    self.bookings = self.bookings + 1
                    lane.seat = nil
                elseif RETRY[why:match("^%u+") or ""] or why == "closed" then
                    again(lane)
                else
                    self.failures[#self.failures + 1] = lane.seat .. ": " .. why
                    lane.seat = nil
                end
            end
        end
    end

    function self.close()
        for _, lane in ipairs(self.lanes) do
            if lane.client then lane.client:close() end
        end
    end
    return self
end

describe("an orderly stop", function()
    local c
    setup(function()
        c = cluster.new()
        c:must(1, "add-event", "1", '[{"row":"R1-","seats":100},{"row":"R2-","seats":100},' ..
            '{"row":"R3-","seats":100},{"row":"R4-","seats":100},{"row":"R5-","seats":100},' ..
            '{"row":"R6-","seats":100},{"row":"R7-","seats":100},{"row":"R8-","seats":100},' ..
            '{"row":"R9-","seats":100},{"row":"R10-","seats":100}]')
    end)
    teardown(function() c:close() end)

    it("of every node in turn, the leader too, fails no booking and loses none", function()
        local load = clients(c, 6, 1000)
        local stops = 0
        for _ = 1, 12 do load.step() end
        for i = 1, c.n do
            local node = c.nodes[i]
            node.process:terminate()
            process.wait_for("the node ends", 15, function()
                load.step()
                return node.process:ended()
            end)
            assert.are.equal(0, node.process:ended(), node.process:output():sub(-2000))
            assert.is_nil(node.process:output():find("did not come to an end", 1, true))
            stops = stops + 1
            for _ = 1, 5 do load.step() end
            c:start(i)
            process.wait_for("the node is back and has caught up", 30, function()
                load.step()
                local status = c:json(i, "status")
                return status and status.leader ~= "" and status.applied > 0 and
                    c:call(i, "events", "--linearizable") ~= nil
            end)
        end
        for _ = 1, 5 do load.step() end
        load.close()
        assert.are.equal(3, stops)
        assert.are.same({}, load.failures)
        assert.is_true(load.bookings > 60, "only " .. load.bookings .. " bookings")
        local taken = c:must(1, "seats", "1", "--linearizable").taken
        for seat, order in pairs(load.booked) do
            assert.are.equal("booked", taken[seat], seat .. " of order " .. order .. " is lost")
        end
    end)

    it("of the leader hands over: another one leads at once, in the next term", function()
        local leader = c:leader()
        local term = c:must(leader, "status").term
        assert.are.equal(0, c:stop(leader))
        local other = leader % c.n + 1
        local status = process.wait_for("another leads", 10, function()
            local s = c:json(other, "status")
            return s and s.leader ~= "" and s.leader ~= c.nodes[leader].address and s
        end)
        assert.are.equal(term + 1, status.term)
        local log = c.nodes[leader].process:output()
        local said = log:match("SIGTERM: stopping(.*)$")
        assert.truthy(said and said:find("follower, leader is " .. status.leader, 1, true),
            "it did not live to follow its successor:\n" .. log:sub(-1500))
        c:start(leader)
        c:ready()
    end)

    it("answers what it had read when it was told to stop, though the answer takes a while", function()
        -- The leader is held until the stop has begun, so the answer can only come during it. On a
        -- machine so busy that the stop's time runs out meanwhile, once more.
        local reply, why
        for try = 1, 5 do
            local leader = c:leader()
            local i = leader % c.n + 1
            local client, other = assert(c:connect(i, 20)), assert(c:connect(i, 20))
            c:pause(leader)
            assert(client:send("set", "drain", try))
            assert(other:call("whoami")) -- by now it was read
            local said = #c.nodes[i].process:output()
            c.nodes[i].process:terminate()
            process.wait_for("the stop begins", 10, function()
                return c.nodes[i].process:output():find("SIGTERM: stopping", said + 1, true)
            end)
            c:resume(leader)
            reply, why = client:receive(20)
            assert.are.equal(0, c.nodes[i].process:wait(15))
            local _, last = client:receive(1)
            assert.are.equal("closed", last)
            client:close()
            other:close()
            c:start(i)
            c:ready()
            if reply then
                assert.are.equal(try, json.decode(reply).value)
                assert.are.equal(try, c:must(i, "get", "drain").value)
                return
            end
        end
        error("no answer during five stops: " .. tostring(why))
    end)

    it("does not wait for a client that neither reads nor closes", function()
        local i = c:follower()
        local client = assert(c:connect(i))
        assert(client:call("whoami"))
        assert.are.equal(0, c:stop(i))
        client:close()
        c:start(i)
        c:ready()
    end)
end)
