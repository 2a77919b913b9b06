--- Following the cluster as it works: SUBSCRIBE, watch, log, monitor; commands whose node or
--- leader dies under them.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local resp = require "spec.support.resp"
local json = require "cjson"

local ROWS = '[{"row":"A","seats":20},{"row":"B","seats":20},{"row":"C","seats":20}]'

--- A reader of one event, as docs/protocol.md says: subscribe, read `seats`, take changes with a
--- higher index; when the connection breaks, the same through the next node. Fails on a change
--- that comes twice or goes back.
local function reader(c, at)
    local self = { at = at, index = 0, status = {}, seen = {}, resumed = 0 }

    local function open()
        local push = c:running(self.at) and resp.connect(c.nodes[self.at].port)
        if not push then return false end
        local query = resp.connect(c.nodes[self.at].port)
        local reply, why = push:call("SUBSCRIBE", "event:1")
        if reply and query then reply, why = query:json("seats", "1", "--min-index", ("%d"):format(self.index)) end
        if query then query:close() end
        if type(reply) ~= "table" or not reply.taken then
            push:close()
            return false, why
        end
        assert(reply.index >= self.index, "the seats are older than what was seen")
        for seat, status in pairs(reply.taken) do self.status[seat] = status end
        for seat in pairs(self.status) do self.status[seat] = reply.taken[seat] end
        self.index, self.push = reply.index, push
        self.resumed = self.resumed + 1
        return true
    end

    local function take(message)
        local change = json.decode(message[3])
        if change.index <= self.index then return end -- the seats held it already
        for _, item in ipairs(change.changes) do
            local key = change.index .. ":" .. item.seat
            assert(not self.seen[key], "a change came twice: " .. key)
            assert(self.status[item.seat] ~= item.status, item.seat .. " changed to what it was: " .. item.status)
            self.seen[key] = true
            self.status[item.seat] = item.status ~= "free" and item.status or nil
        end
        self.index = change.index
    end

    --- Takes what has come, for a moment.
    function self.step()
        if not self.push and not open() then
            self.at = self.at % c.n + 1
            return
        end
        local message, why = self.push:receive(0.05)
        if type(message) == "table" and message[1] == "message" then
            take(message)
        elseif not message and why ~= "timeout" then
            self.push:close()
            self.push = nil
        end
    end

    function self.close() if self.push then self.push:close() end end
    return self
end

describe("following the cluster", function()
    local c
    setup(function()
        c = cluster.new()
        c:must(1, "add-event", "1", ROWS)
        c:must(1, "add-event", "2", ROWS)
    end)
    teardown(function() c:close() end)

    before_each(function()
        for i = 1, 3 do
            if not c:running(i) then c:start(i) end
        end
        c:ready()
    end)

    local function start(words, options)
        local out = c.dir .. "/out-" .. tostring(math.random(1 << 30))
        local p = process.start({ cluster.usher, table.unpack(words) }, { out = out, err = out .. ".err",
            env = { USHER_ADDR = options and options.addresses or c:addresses() }, stdin = options and options.stdin })
        p.text = function() return p:output() end
        return p
    end

    it("misses and doubles no change for a subscriber whose node, the leader, is killed", function()
        local leader = c:leader()
        local r = reader(c, leader)
        process.wait_for("it is subscribed", 10, function()
            r.step()
            return r.push
        end)
        local other = leader % 3 + 1
        local through = other % 3 + 1
        local writer = assert(c:connect(through, 20))
        local expected, orders = {}, {}
        for i = 1, 60 do
            local seat = ("%s%d"):format(("ABC"):sub((i - 1) // 20 + 1, (i - 1) // 20 + 1), (i - 1) % 20 + 1)
            local order = process.wait_for("booked " .. seat, 30, function()
                local reply, why = writer:json("book", "1", "u" .. i, seat, "--request", "w" .. i)
                return reply, why
            end)
            expected[seat], orders[#orders + 1] = "booked", order.order
            if i % 10 == 0 then
                process.wait_for("cancelled", 30, function()
                    return writer:json("cancel", orders[1], "--request", "x" .. i)
                end)
                expected[("A%d"):format(i // 10)] = nil
                table.remove(orders, 1)
            end
            if i == 30 then c:kill(leader) end
            r.step()
        end
        writer:close()
        local truth = c:must(other, "seats", "1", "--linearizable")
        assert.same(expected, truth.taken)
        process.wait_for("the reader has seen all", 30, function()
            r.step()
            return r.index >= truth.index or nil, r.index
        end)
        assert.same(truth.taken, r.status)
        assert.is_true(r.resumed >= 2, "it went on through another node")
        r.close()
        c:start(leader)
        c:ready()
    end)

    it("gives a subscriber a map that is larger than what it may leave of changes", function()
        local rows = {}
        for i = 1, 200 do rows[i] = ('{"row":"R%d-","seats":1000}'):format(i) end
        c:must(1, "add-event", "big", "[" .. table.concat(rows, ",") .. "]")
        -- The bytes that come before the change and the end have: a map, or an error when the node that is
        -- asked for it loses its leader meanwhile, as on a busy machine.
        local function map_beside_a_change(seat)
            local client = assert(resp.connect(c.nodes[1].port, 60))
            assert(client:write "HELLO 3\r\nSUBSCRIBE event:big\r\nSEATS big --full --linearizable\r\n")
            process.wait_for("a booking while the map, 11 MB, is on its way", 30, function()
                return c:call(1, "book", "big", "ann", seat, "--request", "beside-the-map-" .. seat)
            end)
            assert(client:write "ECHO the-end\r\n")
            local bytes, pushed, ended, deadline = 0, false, false, process.now() + 60
            while not (ended and pushed) do -- no pause between two pieces: there are thousands
                assert(client:fill(deadline))
                pushed = pushed or client.buffer:find(('"seat":"%s","status":"booked"}]}'):format(seat), 1, true)
                ended = ended or client.buffer:find("the-end", 1, true)
                bytes = bytes + #client.buffer
                client.buffer = client.buffer:sub(-100)
            end
            client:close()
            return bytes
        end
        local tries = 0
        process.wait_for("a map of 11 MB and a change beside it", 120, function()
            tries = tries + 1
            return map_beside_a_change("R1-" .. tries) > 8 << 20
        end)
        c:must(1, "remove-event", "big", "--cancel-orders")
    end)

    it("writes changes as lines when piped, without colours, and JSON with -w json", function()
        local lines, jsons = start { "watch" }, start { "watch", "2", "-w", "json" }
        process.wait_for("both watch", 10, function()
            local n = 0
            for i = 1, 3 do for _, task in ipairs(c:must(i, "ps")) do n = n + (task.name == "watch" and 1 or 0) end end
            return n == 2
        end)
        c:must(1, "book", "2", "secret-customer", "A1", "A2", "--code", "SESAME")
        process.wait_for("both have told", 10, function()
            return lines.text():find("A1 A2 booked", 1, true) and jsons.text():find('"changes"', 1, true)
        end)
        lines:signal("sigint")
        jsons:signal("sigint")
        lines:wait(10)
        jsons:wait(10)
        assert.truthy(lines.text():find("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%dZ  event 2  index %d+  A1 A2 booked\n$"),
            lines.text())
        for _, text in ipairs { lines.text(), jsons.text() } do
            assert.is_nil(text:find("secret", 1, true))
            assert.is_nil(text:find("SESAME", 1, true))
            assert.is_nil(text:find("\27", 1, true))
        end
        local first, second = jsons.text():match("^([^\n]+)\n([^\n]+)\n$")
        assert.equal("2", json.decode(first).event)
        assert.is_table(json.decode(first).rows)
        assert.equal("booked", json.decode(second).changes[1].status)
        process.wait_for("the node has ended them", 10, function()
            return #c:must(1, "ps") + #c:must(2, "ps") + #c:must(3, "ps") == 0
        end)
    end)

    it("decodes the log by ranges, with codes hidden, and follows it", function()
        local order = c:must(1, "hold", "2", "ann", "B1", "--code", "SESAME", "--request", "log-1")
        local index = order.index
        local rows = process.wait_for("the node has it", 10, function()
            return c:json(1, "log", tostring(math.tointeger(index)))
        end)
        assert.equal(index, rows[#rows].index)
        local found
        for _, row in ipairs(rows) do found = found or row.request == "log-1" and row end
        assert.equal("hold 2 ann B1 --code ***", found.what)
        assert.equal("take " .. order.order, found.effects[1])
        local joined = c:must(1, "hold", "2", "ann", "B2", "--code=SESAME").index
        rows = process.wait_for("the node has it", 10, function()
            return c:json(1, "log", tostring(math.tointeger(joined)))
        end)
        assert.equal("hold 2 ann B2 --code=***", rows[#rows].what)
        assert.is_true(found.term >= 1)
        local status, out = process.run({ cluster.usher, "log", ("%d..%d"):format(index - 2, index) },
            { env = { USHER_ADDR = c.nodes[1].address } })
        assert.equal(0, status)
        assert.truthy(out:find("^index%s+term%s+time%s+what\n"), out) -- nobody has a name here
        local reply, why = c:call(1, "log", "999999")
        assert.is_nil(reply)
        assert.truthy(why:find("has not been committed", 1, true), why)
        reply, why = c:call(1, "log", "seven")
        assert.is_nil(reply)
        assert.truthy(why:find("is no range of the log; write an index, 7..12", 1, true), why)
        local following = start { "log", "--follow", "--limit", "1" }
        process.wait_for("it follows", 10, function() return following.text():find("\n%d") end)
        c:must(1, "release", order.order)
        process.wait_for("the release is told", 10, function()
            return following.text():find("release " .. order.order, 1, true)
        end)
        following:signal("sigint")
        following:wait(10)
    end)

    it("shortens long and many words of the log between characters, and says so", function()
        local long = ("ä"):rep(150)
        local index = c:must(1, "set", "umlauts", "x" .. long).index
        local metadata = c:must(1, "hold", "2", "ann", "B3", "--metadata", '{"a":"' .. long .. ' b"}').index
        local many = { "hold", "2", "ann" }
        for i = 1, 70 do many[#many + 1] = "B3=" .. i end
        many[#many + 1] = "--request"
        many[#many + 1] = "many-words" -- a refusal that is remembered is in the log
        c:call(1, table.unpack(many))
        local what = process.wait_for("the node has them", 10, function()
            local text = {}
            for _, row in ipairs(c:json(1, "log", ("%d.."):format(index)) or {}) do
                text[#text + 1] = ("%d: %s"):format(row.index, row.what)
            end
            text = table.concat(text, "\n")
            return text:find("B3=1 ", 1, true) and text
        end)
        assert.truthy(what:find(("%d: set umlauts x%s...\n"):format(index, ("ä"):rep(38)), 1, true), what)
        assert.truthy(what:find(("\n%d: hold 2 ann B3 %%-%%-metadata [^\n]*ä%%.%%.%%.\n"):format(metadata)), what)
        assert.truthy(what:find(" B3=62 ... -> ", 1, true), what)
        assert.truthy(c:must(1, "get-logs", "5"):find("ä...", 1, true))
    end)

    it("ends a long piece of the log with how to go on", function()
        local writer = c:connect(1)
        for _ = 1, 3 do -- what comes together shares entries
            for i = 1, 500 do writer:send("set", "filler", ("%d"):format(i)) end
            for _ = 1, 500 do assert(writer:receive(60)) end
        end
        writer:close()
        local index = math.tointeger(c:must(1, "get", "filler").index)
        process.wait_for("the node has them", 10, function() return c:must(1, "status").applied >= index end)
        local range = "1.." .. index
        local _, out = process.run({ cluster.usher, "log", range }, { env = { USHER_ADDR = c:addresses() } })
        local found, pages = 0, 0
        while range do
            local rows = c:must(1, "log", range)
            local rest = rows[#rows].more and rows[#rows].next:match("^log (.+)$")
            if pages == 0 then assert.truthy(out:find("\nmore: log " .. rest .. "\n", 1, true), out:sub(-200)) end
            for _, row in ipairs(rows) do
                if row.what and row.what:find("^set filler") then found = found + 1 end
            end
            range, pages = rest, pages + 1
        end
        assert.equal(1500, found)
        assert.truthy(pages > 1)
    end)

    it("monitors the requests of a node, with codes hidden", function()
        local monitor = start({ "monitor" }, { addresses = c.nodes[2].address })
        process.wait_for("it monitors", 10, function()
            for _, task in ipairs(c:must(2, "ps")) do if task.name == "monitor" then return true end end
        end)
        c:call(2, "hold", "2", "eve", "B7", "--code=SESAME")
        c:call(2, "hold", "2", "eve", "B8", "--code", "SESAME")
        c:call(2, "set", "monitored", "x" .. ("ä"):rep(150))
        process.wait_for("it is told", 10, function() return monitor.text():find("set monitored", 1, true) end)
        monitor:signal("sigint")
        monitor:wait(10)
        assert.truthy(monitor.text():find("hold 2 eve B8 --code ***", 1, true), monitor.text())
        assert.truthy(monitor.text():find("--code=***", 1, true), monitor.text())
        assert.truthy(monitor.text():find(("x" .. ("ä"):rep(127) .. "...\n"), 1, true), monitor.text())
        assert.is_nil(monitor.text():find("SESAME", 1, true))
    end)

    it("refuses what never ends where nobody can take it", function()
        for _, words in ipairs { { "watch" }, { "monitor" }, { "log", "--follow" } } do
            local reply, why = c:call(1, table.unpack(words))
            assert.is_nil(reply)
            assert.truthy(why:find("^BADARG .*never end; "), why)
        end
    end)

    it("ends a console command with its true outcome when its node, the leader, dies under it", function()
        local leader = c:leader()
        local others = { c.nodes[leader % 3 + 1].address, c.nodes[(leader + 1) % 3 + 1].address }
        local input = c.dir .. "/input"
        os.execute(("rm -f '%s'; mkfifo '%s'"):format(input, input))
        -- The console gets its commands one at a time; the leader dies among them.
        local feeder = process.start({ "/bin/sh", "-c", ([[
            for i in $(seq 1 20); do echo "book 2 console-$i C$i" ; done]]) .. " > '" .. input .. "'" })
        local console = start({ "console", "-w", "json" }, {
            stdin = input, addresses = c.nodes[leader].address .. "," .. table.concat(others, ",") })
        process.wait_for("it is at work", 20, function() return console.text():find("console-", 1, true) end)
        c:kill(leader)
        local ended = console:wait(60)
        local file = io.open(console.out .. ".err")
        assert.equal(0, ended, console.text() .. file:read("a"))
        file:close()
        feeder:wait(10)
        local taken = c:must(leader % 3 + 1, "seats", "2", "--linearizable").taken
        local orders = {}
        for line in console.text():gmatch("[^\n]+") do
            local answer = json.decode(line)
            if answer.customer:find("console", 1, true) then orders[#orders + 1] = answer end
        end
        assert.equal(20, #orders, "every command has its answer, and one only")
        for i, order in ipairs(orders) do
            assert.equal("booked", order.status)
            assert.equal("booked", taken["C" .. i])
            assert.equal(order.order, c:must(leader % 3 + 1, "order", order.order).order)
        end
        c:start(leader)
        c:ready()
    end)

    it("does not run Lua again whose connection broke: it says that the outcome is open", function()
        local node = c:follower()
        local console = process.start({ cluster.usher, "console", "-c", "sleep '1h'" }, { out = c.dir .. "/lua-out",
            env = { USHER_ADDR = c.nodes[node].address .. "," .. c.nodes[c:leader()].address } })
        process.wait_for("it sleeps", 10, function() return #c:must(node, "ps") > 0 end)
        c:kill(node)
        assert.equal(1, console:wait(30))
        assert.truthy(console:output():find("UNKNOWN the connection broke while this ran", 1, true), console:output())
        c:start(node)
        c:ready()
    end)

    it("answers a console command almost as fast as the same RESP command", function()
        local node = c:leader()
        local client = assert(c:connect(node))
        assert(client:call("USHER.SESSION"))
        local function measure(ask)
            local times = {}
            for i = 1, 60 do
                local from = process.now()
                ask(i)
                times[i] = (process.now() - from) * 1000
            end
            table.sort(times)
            return times[30]
        end
        local function console_line()
            assert(client:send("USHER.LINE", "event 2"))
            repeat
                local frame = assert(client:receive())
                if frame[1] == "done" then assert(frame[2] == 0, frame[3]) end
            until frame[1] == "done"
        end
        measure(console_line) -- warm
        local plain = measure(function() assert(client:call("event", "2")) end)
        local console = measure(console_line)
        client:close()
        print(("# a console command: %.2f ms, the same over RESP: %.2f ms, difference %.2f ms (aim: at most 5)"):format(
            console, plain, console - plain))
        assert.is_true(console < plain + 250, "bound far above any load") -- the figure is what counts
    end)
end)

describe("every command", function()
    it("has a usage, a summary and an example, and its example is one of it", function()
        local c = cluster.new { n = 1 }
        local commands = c:must(1, "commands")
        assert.is_true(#commands > 40)
        for _, command in ipairs(commands) do
            assert.truthy(command.usage and command.usage:find(command.name, 1, true), command.name)
            assert.truthy(command.summary and #command.summary > 5, command.name .. " has no summary")
            local own = "^" .. command.name:gsub("%-", "%%-") .. "%f[%s\0]"
            assert.truthy(command.example and command.example:find(own), command.name .. " has no example of itself")
            assert.truthy(command.group and command.group ~= "", command.name)
            for _, argument in ipairs(command.args) do -- what a prompt says and Tab shows
                assert.truthy(argument.help or argument.choices, command.name .. ": what is " .. argument.name .. "?")
            end
            local help = c:must(1, "help", command.name)
            assert.truthy(help:find(command.summary, 1, true), help)
            assert.truthy(help:find("example: " .. command.example, 1, true), help)
        end
        c:close()
    end)
end)
