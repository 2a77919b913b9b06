--- Scripts of clients (`usher run`) and the shipped ones, with real processes.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local json = require "cjson"

describe("scripts", function()
    local c
    setup(function()
        c = cluster.new { profile = 'scripts = { "lua/hooks/mirror.lua", "lua/hooks/nightly-report.lua" }, ' ..
            'policy = "lua/policy/upgrade", script_memory_bytes = 8 << 20, script_instructions = 100000000' }
        c:must(1, "add-event", "1", '[{"row":"A","seats":40},{"row":"B","seats":10,"aisles":[4]}]')
    end)
    teardown(function() c:close() end)

    local function usher(words, input, seconds)
        return process.run({ cluster.usher, table.unpack(words) },
            { env = { USHER_ADDR = c:addresses() }, input = input, seconds = seconds })
    end

    local function script(text)
        local path = c.dir .. "/script.lua"
        cluster.write(path, text)
        return path
    end

    local function run(text, ...) return usher { "run", script(text), ... } end

    local function task(name)
        return process.wait_for(name .. " is at work", 10, function()
            for _, row in ipairs(c:must(1, "ps")) do
                if row.name:find(name, 1, true) then return row end
            end
        end)
    end

    describe("run by a client", function()
        it("print what they return, and end with it as their status", function()
            local status, out = run("return 6 * 7")
            assert.equal(0, status)
            assert.equal("42\n", out)
            status, out = usher({ "run", "-w", "json", "-" }, "return { a = 1 }, 'two'")
            assert.equal(0, status)
            assert.equal('{"a":1}\n"two"\n', out)
            status, out = run("return")
            assert.equal(0, status)
            assert.equal("", out)
            local code, _, err = run("return usher.event('nowhere')")
            assert.equal(1, code)
            assert.truthy(err:find("^NOTFOUND"), err)
        end)

        it("are given all that follows --, and what is no option of usher's", function()
            local path = script("print(table.concat(arg, ' '))")
            local at = c.nodes[2].address
            for words, want in pairs {
                [{ path, "a", "--all", "--at", at, "-w", "json" }] = "a --all",
                [{ path, "a", "--at=" .. at, "--", "--file", "out.csv", "--", "--at", "x:1" }] =
                    "a --file out.csv -- --at x:1",
                [{ "-w", "json", path, "--", "-w", "csv" }] = "-w csv",
                [{ "--at", at, "--", path, "--file=x" }] = "--file=x",
            } do
                local status, out, err = usher { "run", table.unpack(words) }
                assert.equal(0, status, err)
                assert.equal(want .. "\n", out)
            end
            local status, _, err = usher { "run", "--fil", path }
            assert.equal(2, status)
            assert.truthy(err:find("run does not take --fil", 1, true), err)
        end)

        it("pass what looks like an option as the value it is", function()
            local status, _, err = run("return usher.set { key = 'zz', value = '--dry-run' }")
            assert.equal(0, status, err)
            assert.equal("--dry-run", c:must(1, "get", "zz", "--linearizable").value)
            for _, value in ipairs { "--", "--request", "--request=x" } do
                assert.equal(0, (run("return usher.set { 'zz', arg[1] }", "--", value)))
                assert.equal(value, c:must(1, "get", "zz", "--linearizable").value)
            end
            status, _, err = run(
                "return usher.hold { '1', 'ann', 'A30', ttl = '1m', request = 'dashes', dry_run = true }")
            assert.equal(0, status, err)
            assert.same({}, c:must(1, "orders", "--customer", "ann"))
        end)

        it("may name their request in one word", function()
            for _ = 1, 2 do
                local status, _, err = run("return usher.call('hold', '1', 'zed', 'A31', '--request=one-word')")
                assert.equal(0, status, err)
                status, _, err = usher { "hold", "1", "zed", "A32", "--request=other-word" }
                assert.equal(0, status, err)
                status, _, err = usher { "console", "-c", "hold 1 zed A33 --request=third-word" }
                assert.equal(0, status, err)
            end
            assert.equal(3, #c:must(1, "orders", "--customer", "zed"))
        end)

        it("show a failure with its file, line and traceback", function()
            local status, _, err = run("local function inner() error('oh no') end\n" ..
                "local function outer()\n  inner()\nend\nouter()\n")
            assert.equal(1, status)
            assert.truthy(err:find("script.lua:1: oh no", 1, true), err)
            assert.truthy(err:find("script.lua:3:", 1, true), err)
            assert.truthy(err:find("script.lua:5:", 1, true), err)
            status, _, err = run("x = = 1")
            assert.equal(1, status)
            assert.truthy(err:find("script.lua:1:", 1, true), err)
        end)

        it("may do what is bounded: memory, instructions, no waiting in callbacks", function()
            local status, _, err = run("local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end")
            assert.equal(1, status)
            assert.truthy(err:find("LIMIT", 1, true) or err:find("memory", 1, true), err)
            local used
            status, used = run("local t = {} for i = 1, 1000 do t[i] = ('x'):rep(1000) .. i end return #t")
            assert.equal(0, status) -- the memory of the one before is free again
            assert.equal("1000\n", used)
            status, _, err = run("while true do pcall(function() while true do end end) end")
            assert.equal(1, status)
            assert.truthy(err:find("budget", 1, true), err)
        end)

        it("wait when their reader is slow instead of filling the node", function()
            local before = c:must(1, "scripts")
            assert.truthy(#before > 0)
            local client = c:connect(1)
            assert(client:call("USHER.SESSION"))
            assert(client:send("USHER.RUN", "flood", "local line = ('x'):rep(1000) while true do print(line) end"))
            local row = process.wait_for("it waits for its reader", 10, function()
                for _, found in ipairs(c:must(1, "ps")) do
                    if found.name == "flood" and found.state == "blocked" then return found end
                end
            end)
            assert.truthy(row.memory < 8 << 20)
            client:close()
            process.wait_for("it ended with its client", 10, function()
                for _, found in ipairs(c:must(1, "ps")) do
                    if found.name == "flood" then return nil end
                end
                return true
            end)
        end)

        it("are killed from another connection, also where a pcall catches all", function()
            local path = script("while true do pcall(function() sleep(0) end) end")
            local loop = process.start({ cluster.usher, "run", path }, { env = { USHER_ADDR = c.nodes[1].address } })
            local row = task("script.lua")
            assert.truthy(row.age_ms >= 0 and row.memory > 0)
            c:must(1, "kill", tostring(math.tointeger(row.id)))
            assert.equal(1, loop:wait(10))
            local _, why = c:json(1, "kill", tostring(math.tointeger(row.id)))
            assert.truthy(why:find("^NOTFOUND"), why)
        end)

        it("leave the node alone where they sleep for nothing in a loop", function()
            local status, _, err = run("for _ = 1, 200 do sleep(0) end") -- hung the node once
            assert.equal(0, status, err)
        end)

        it("end with status 1 when their node dies", function()
            local at = c:follower()
            local path = script("print('begun') sleep('60s')")
            local out = c.dir .. "/out.txt"
            local waiting = process.start({ cluster.usher, "run", path },
                { env = { USHER_ADDR = c.nodes[at].address }, out = out })
            process.wait_for("it has begun", 10, function() return waiting:output():find("begun", 1, true) end)
            c:kill(at)
            assert.equal(1, waiting:wait(15))
            c:start(at)
            c:ready()
        end)
    end)

    it("leave bookings alone: a script in an endless loop beside them", function()
        local client = c:connect(1)
        local function bookings(name)
            local times = {}
            for i = 1, 300 do
                local begun = process.now()
                assert(client:call("set", name .. i, "1"))
                times[i] = (process.now() - begun) * 1000
            end
            table.sort(times)
            return times[297]
        end
        bookings("warm")
        local alone = bookings("alone")
        local path = script("while true do end")
        local loop = process.start({ cluster.usher, "run", path }, { env = { USHER_ADDR = c.nodes[1].address } })
        task("script.lua")
        local beside = bookings("beside")
        loop:kill()
        loop:wait(10)
        client:close()
        io.write(("# (p99 of a write: %.1f ms alone, %.1f ms beside an endless loop)\n"):format(alone, beside))
        assert.truthy(beside < 20 * alone + 200, ("%.1f ms alone, %.1f ms beside"):format(alone, beside))
    end)

    it("get the true outcome of a command whose leader dies", function()
        local at = c:follower()
        local leader = c:leader()
        local path = script([[
            for i = 1, 400 do
                local order, message, code = usher.call("set", "k" .. i, tostring(i))
                if not order then print(i, code, message) exit(3) end
                if i == 20 then print("going") end
            end
            print("all done")]])
        local out = c.dir .. "/failover.txt"
        local running = process.start({ cluster.usher, "run", path },
            { env = { USHER_ADDR = c.nodes[at].address }, out = out })
        process.wait_for("it is under way", 10, function() return running:output():find("going", 1, true) end)
        c:kill(leader)
        local status = running:wait(40)
        assert.equal(0, status, running:output())
        assert.truthy(running:output():find("all done", 1, true))
        c:start(leader)
        c:ready()
        assert.equal(400, #c:must(at, "keys", "k", "--linearizable"))
    end)

    describe("shipped", function()
        local function shipped(name, ...) return usher({ "run", "lua/scripts/" .. name, ... }, nil, 60) end

        it("import a pretix plan and make an event of it", function()
            local seats = {}
            for i = 1, 6 do
                seats[i] = { seat_guid = "g" .. i, seat_number = tostring(i), category = i > 4 and "gold" or "blue",
                    position = { x = i * 20, y = 0 } }
            end
            cluster.write(c.dir .. "/plan.json", json.encode { name = "Hall", zones = { { name = "Ground", position =
                { x = 0, y = 0 }, rows = { { row_number = "A", position = { x = 0, y = 0 }, seats = seats } } } } })
            local plan = "@" .. c.dir .. "/plan.json"
            local status, out, err = shipped("import-pretix.lua", "hall", plan, "concert", "--currency", "EUR")
            assert.equal(0, status, out .. err)
            assert.truthy(out:find("chart hall added: 6 seats in 1 zones", 1, true), out)
            assert.truthy(out:find("gold +2"), out)
            assert.equal(6, c:must(1, "event", "concert", "--linearizable").counts.free)
            status, out = shipped("import-pretix.lua", "hall", plan, "concert")
            assert.equal(1, status)
            assert.truthy(out:find("CONFLICT", 1, true), out)
            status, out = shipped("import-pretix.lua", "x", "[]")
            assert.equal(1, status)
            assert.truthy(out:find("no `zones`", 1, true), out)
        end)

        it("load-test an event and leave it as it was", function()
            local before = c:must(1, "event", "1", "--linearizable").counts
            local status, out, err = usher({ "run", "-w", "json", "lua/scripts/load-test.lua", "1", "15", "2" },
                nil, 60)
            assert.equal(0, status, out .. err)
            local figures = json.decode(out)
            assert.equal(15, figures.bookings)
            assert.equal(30, figures.seats)
            assert.truthy(figures.p99_ms >= figures.p50_ms and figures.per_second > 0)
            assert.same(before, c:must(1, "event", "1", "--linearizable").counts)
        end)

        it("move a party together", function()
            local order = c:must(1, "book", "1", "dora", "A1", "A2", "A3").order
            c:must(1, "book", "1", "eve", "B6")
            local status, out = shipped("move-party.lua", order, "B")
            assert.equal(0, status, out)
            local seats = {}
            for i, seat in ipairs(c:must(1, "order", order).seats) do seats[i] = seat.seat end
            table.sort(seats)
            assert.same({ "B2", "B3", "B4" }, seats) -- never across the aisle behind B4, nearest the middle
            status, out = shipped("move-party.lua", order, "B3", "B4", "B5") -- by one: from and to overlap
            assert.equal(0, status, out)
            status, out = shipped("move-party.lua", order, "B1", "B6", "B7")
            assert.equal(1, status)
            assert.truthy(out:find("^TAKEN"), out)
            status = shipped("move-party.lua", order, "A11", "A12", "A13")
            assert.equal(0, status)
            status, out = shipped("move-party.lua", "NOSUCHORDER00", "A")
            assert.equal(1, status)
            assert.truthy(out:find("NOTFOUND", 1, true), out)
            c:must(1, "cancel", order)
        end)

        it("give the seats of no-shows back", function()
            c:must(1, "add-event", "show", '[{"row":"A","seats":6}]')
            local came = c:must(1, "book", "show", "ann", "A1", "A2").order
            c:must(1, "book", "show", "bob", "A3")
            cluster.write(c.dir .. "/arrived.txt", came .. " 19:55\n")
            local list = "@" .. c.dir .. "/arrived.txt"
            local _, out = shipped("release-no-shows.lua", "show", list)
            assert.truthy(out:find("1 would be released, 1 seats would be free", 1, true), out)
            assert.equal(3, c:must(1, "event", "show", "--linearizable").counts.booked)
            local status
            status, out = shipped("release-no-shows.lua", "show", list, "--yes")
            assert.equal(0, status)
            assert.truthy(out:find("1 orders came (1 on the list), 1 were released, 1 seats are free again", 1, true),
                out)
            assert.equal(2, c:must(1, "event", "show", "--linearizable").counts.booked)
            c:must(1, "cancel", came)
            c:must(1, "remove-event", "show")
        end)

        it("draw the seats as text", function()
            c:must(1, "add-event", "map", '[{"row":"A","seats":6,"aisles":[3],"accessible":[6]},{"row":"B","seats":2}]')
            c:must(1, "book", "map", "ann", "A1")
            c:must(1, "hold", "map", "bob", "A2")
            c:must(1, "block", "map", "B2")
            local status, out = shipped("seat-map.lua", "map")
            assert.equal(0, status)
            assert.truthy(out:find("A  X h .   . . w\n", 1, true), out)
            assert.truthy(out:find("B       . #\n", 1, true), out)
            assert.truthy(out:find("free 5, held 1, booked 1, blocked 1", 1, true), out)
        end)

        it("report what was sold, as CSV in the node's files", function()
            c:must(1, "add-event", "r", '[{"row":"A","seats":6,"category":"stalls"}]', "--currency", "EUR")
            c:must(1, "book", "r", "ann", "A1", "A2")
            local rows = c:must(2, "report", "--write")
            local row
            for _, found in ipairs(rows) do if found.event == "r" then row = found end end
            assert.equal(13000, row.revenue)
            assert.equal(1, row.orders)
            local pipe = io.popen(("cat '%s'/default/'%s'/files/report-*.csv"):format(c.dir, c.nodes[2].address))
            local text = pipe:read("a")
            pipe:close()
            assert.truthy(text:find("^event,status,free,held,booked,blocked,orders,revenue,currency\n"), text)
            assert.truthy(text:find("\nr,open,4,0,2,0,1,13000,EUR\n", 1, true), text)
        end)

        it("mirror every change into a file of each node", function()
            local order = c:must(1, "book", "1", "ann", "A30")
            for i = 1, 3 do
                local path = ("%s/default/%s/files/changes.jsonl"):format(c.dir, c.nodes[i].address)
                local line = process.wait_for("node " .. i .. " has mirrored it", 20, function()
                    local file = io.open(path)
                    local text = file and file:read("a") or ""
                    if file then file:close() end
                    return text:match('[^\n]*"order":"' .. order.order .. '"[^\n]*')
                end)
                local change = json.decode(line)
                assert.equal(order.index, change.index)
                assert.equal("A30", change.seat)
                assert.equal("booked", change.to)
                assert.is_nil(change.customer)
            end
        end)

        it("upgrade a booking, the custom command of a policy", function()
            c:must(1, "add-event", "u", '[{"row":"S","seats":4,"category":"stalls"},' ..
                '{"row":"C","seats":4,"category":"circle"}]')
            local order = c:must(2, "book", "u", "ann", "C1", "C2")
            assert.equal(9000, order.price)
            local better = c:must(2, "upgrade", order.order, "stalls", "--note", "birthday")
            assert.equal(13000, better.price)
            assert.truthy(better.seats[1].seat:find("^S"))
            local _, why = c:json(2, "upgrade", order.order, "circle")
            assert.truthy(why:find("^DENIED circle costs less"), why)
            c:must(2, "book", "u", "bob", "C1") -- its old seats are free
        end)

        it("answer the commands of the older Python console", function()
            local text = c:must(1, "add-showtime", "99", '[{"row":"A","seats":5}]', "Metropolis", "20:00")
            assert.truthy(text:find("Showtime 99 added: 5 seats", 1, true), text)
            text = c:must(2, "reserve-seat", "99", "ann", "A1")
            assert.truthy(text:find("^Seat A1 of showtime 99 is reserved for ann, order "), text)
            text = c:must(2, "reserve-seat", "99", "ann", "A1")
            assert.truthy(text:find("is already reserved for ann", 1, true), text)
            local once = c:must(2, "reserve-seat", "99", "ann", "A2", "--request", "classic-1")
            assert.equal(once, c:must(3, "reserve-seat", "99", "ann", "A2", "--request", "classic-1"))
            c:must(2, "cancel-seat", "99", "A2")
            local _, why = c:json(3, "reserve-seat", "99", "bob", "A1")
            assert.truthy(why:find("^TAKEN seat A1 of event 99 is booked"), why)
            local show = process.wait_for("node 3 has it", 10, function()
                for _, found in ipairs(c:must(3, "get-showtimes")) do
                    if found.id == "99" and found.reserved == 1 then return found end
                end
            end)
            assert.equal("Metropolis", show.movie)
            local state = c:must(2, "get-state", "99")
            assert.same({ A1 = "booked" }, state[1].reservedSeats)
            assert.truthy(c:must(1, "get-logs", "5"):find("book 99 ann A1", 1, true))
            assert.truthy(#c:must(1, "get-raw-logs", "5") >= 5)
            local status = c:must(1, "get-node-status")
            assert.equal(c.nodes[1].address, status.self)
            assert.equal(2, status.partner_nodes_count)
            assert.equal(2, status["partner_node_status_server_" .. c.nodes[2].address])
            _, why = c:json(1, "remove-showtime", "99")
            assert.truthy(why:find("^CONFLICT"), why)
        end)
    end)
end)
