--- The client programs against a running node: console -c, piped console, run, demo.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local silent = require "spec.support.silent"

describe("the programs of a client", function()
    local c
    setup(function()
        c = cluster.new()
        c:must(1, "add-event", "1", '[{"row":"A","seats":10}]')
    end)
    teardown(function() c:close() end)

    local function usher(words, input)
        return process.run({ cluster.usher, table.unpack(words) },
            { env = { USHER_ADDR = c:addresses() }, input = input })
    end

    local function script(text)
        local path = c.dir .. "/script.lua"
        cluster.write(path, text)
        return path
    end

    it("refuses a line with a zero byte, which would end its word", function()
        local status, _, err = usher({ "console" }, 'set zero "a\0b"\n')
        assert.equal(1, status)
        assert.equal("BADARG the line holds a zero byte; leave it out: a word would end there\n", err)
        status, _, err = usher { "get", "zero" }
        assert.equal(1, status, err)
    end)

    it("runs commands and Lua given with -c, in order, and stops at the first failure", function()
        local status, out, err = usher { "console", "-w", "json", "-c", "hold 1 ann A1", "-c", "= 6 * 7", "-c",
            "hold 1 bob A1", "-c", "= 'never'" }
        assert.equal(1, status)
        assert.truthy(out:find('"customer":"ann"', 1, true), out)
        assert.truthy(out:find("\n42\n", 1, true), out)
        assert.is_nil(out:find("never", 1, true))
        assert.truthy(err:find("^TAKEN seat A1 of event 1 is held"), err)
    end)

    it("takes --help behind a command for `help` before it", function()
        local _, wanted = usher { "help", "hold" }
        for _, word in ipairs { "--help", "-h" } do
            local status, out = usher { "hold", word }
            assert.same({ 0, wanted }, { status, out })
        end
        assert.truthy(wanted:find("Hold seats for a customer", 1, true), wanted)
    end)

    it("tells in help what every command of the kind takes, who may call it and what may be chosen", function()
        local _, hold = usher { "help", "hold" }
        assert.truthy(hold:find("\nevery transaction also takes %-%-request ID .*%-%-dry%-run"), hold)
        assert.truthy(hold:find("\naccess: client\n", 1, true), hold)
        local _, seats = usher { "help", "seats" }
        assert.truthy(seats:find("\nevery read also takes --linearizable, --min-index N", 1, true), seats)
        assert.truthy(seats:find("\naccess: public\n", 1, true), seats)
        local _, orders = usher { "help", "orders" }
        assert.truthy(orders:find("%-%-status +one_of +live, held, booked,"), orders)
        local _, status = usher { "help", "status" }
        assert.is_nil(status:find("also takes", 1, true), status)
    end)

    it("keeps globals for the session, joins the lines of a statement, and reads its own writes", function()
        local status, out, err = usher({ "console", "-w", "json" }, table.concat({
            "x = 1", "for i = 1, 3 do", "x = x + i", "end", "= x", "book 1 eve A5", "orders --customer eve",
            "_[1].status",
        }, "\n") .. "\n")
        assert.equal(0, status, err)
        assert.truthy(out:find("^7\n"), out)
        assert.truthy(out:find('"booked"\n$'), out)
    end)

    it("ends with what exit(n) says, whatever n is, and runs nothing behind it", function()
        for _, n in ipairs { 0, 2, 3 } do
            local line = ("exit(%d)"):format(n)
            local status, out, err = usher { "console", "-c", "= 1", "-c", line, "-c", "= 2" }
            assert.same({ n, "1\n", "" }, { status, out, err })
            status, out = usher({ "console" }, "= 1\n" .. line .. "\n= 2\n")
            assert.same({ n, "1\n" }, { status, out })
        end
        assert.equal(1, (usher({ "console" }, "error('x')\nexit")))
    end)

    it("shows what an expression came to, nil as well, and nothing for a statement", function()
        local _, out = usher({ "console" }, "= nil\nx = 1\n= x, nil\nprint('p')\njson.decode('null')\n")
        assert.equal("nil\n1\np\nnil\n", out)
    end)

    it("says how a command is called in Lua, and shows only the user's own frames", function()
        local _, _, err = usher { "console", "-c", "hold(1)" }
        assert.truthy(err:find("it is a command: in Lua usher.hold{...}, as a line `hold ...`", 1, true), err)
        assert.truthy(err:find("\n\tconsole:1: in main chunk\n$"), err)
        _, _, err = usher { "console", "-c", "function f() is_leader() end", "-c", "f()" }
        assert.truthy(err:find("in Lua usher.is_leader{...}, as a line `is-leader ...`", 1, true), err)
        assert.truthy(err:find("\n\tconsole:1: in function <console:1>\n$"), err)
    end)

    it("says that the input ended inside a statement", function()
        local status, _, err = usher({ "console" }, "for i = 1, 3 do\n")
        assert.equal(1, status)
        assert.truthy(err:find("ends inside a statement", 1, true), err)
    end)

    it("runs a script with arguments, files as their text, and its exit status", function()
        local data = c.dir .. "/data.txt"
        cluster.write(data, "from a file")
        local status, out = usher { "run", script('print(arg[1], arg[2]) exit(7)'), "one", "@" .. data }
        assert.equal(7, status)
        assert.equal("one\tfrom a file\n", out)
    end)

    it("runs a script from standard input and ends at its end", function()
        local status, out = usher({ "run", "-" }, "print(usher.event('1').counts.free >= 0)")
        assert.equal(0, status)
        assert.equal("true\n", out)
    end)

    it("shows the script's own file and line when it fails", function()
        local path = script("local a = 1\nlocal b = nil\nprint(b.c)\n")
        local status, _, err = usher { "run", path }
        assert.equal(1, status)
        assert.truthy(err:find("script.lua:3:", 1, true), err)
    end)

    it("gives a refusal to a script as nil, message, code", function()
        c:must(1, "book", "1", "ann", "A9")
        local _, out = usher { "run", script('print(usher.book{"1", "bob", "A9"})') }
        assert.truthy(out:find("^nil\tseat A9 of event 1 is booked.*\tTAKEN"), out)
        c:must(1, "add-chart", "hall", '[{"row":"A","seats":4}]')
        local again = script('print(usher.call("add-chart", "hall", json.encode { { row = "A", seats = 4 } }))')
        _, out = usher { "run", again }
        assert.truthy(out:find("^nil\tthere is a chart 'hall' already.*\tCONFLICT\n$"), out) -- a refusal without a hint
    end)

    it("lets others work while a script loops for ever, and ends it with kill", function()
        local path = script("while true do end")
        local loop = process.start({ cluster.usher, "run", path }, { env = { USHER_ADDR = c.nodes[1].address } })
        local id = process.wait_for("the loop is at work", 10, function()
            for _, task in ipairs(c:must(1, "ps")) do
                if task.name:find("script.lua", 1, true) then return math.tointeger(task.id) end
            end
        end)
        for _ = 1, 20 do c:must(1, "seats", "1") end
        c:must(1, "kill", tostring(id))
        assert.equal(1, loop:wait(10))
    end)

    it("bounds what a script may do", function()
        local status, _, err = usher { "run", script('local t = "x" while true do t = t .. t end') }
        assert.equal(1, status)
        assert.truthy(err:find("memory", 1, true) or err:find("too long", 1, true) or err:find("LIMIT", 1, true), err)
        for _, text in ipairs { "os.exit(0)", "io.open('/etc/passwd')", "require 'os'", "load('x')()",
            "debug.getinfo(1)" } do
            assert.equal(1, (usher { "run", script(text) }), text)
        end
        assert.equal(0, (usher { "status" }))
    end)

    it("says UNKNOWN, and how to ask again, when nobody tells what became of a command", function()
        local lone = cluster.new { n = 1 }
        local taken = 0
        local peer = silent.listen(function() taken = taken + 1 end)
        finally(function()
            peer.close()
            lone:close()
        end)
        lone:must(1, "add-event", "1", '[{"row":"A","seats":4}]')
        local function book(seat, ...)
            local out = ("%s/book-%s"):format(lone.dir, seat)
            return process.start({ cluster.usher, "book", "1", "ann", seat, ... },
                { out = out, env = { USHER_ADDR = peer.address } })
        end
        local named, unnamed = book("A1", "--request", "mine"), book("A2")
        process.wait_for("both requests are there", 20, function() return taken == 2 end)
        peer.close()
        for _, one in ipairs { named, unnamed } do
            assert.equal(1, one:wait(50))
            assert.truthy(one:output():find("^UNKNOWN whether this was done is not known: "), one:output())
        end
        assert.truthy(named:output():find("ask again with --request mine", 1, true), named:output())
        local id = unnamed:output():match("ask again with %-%-request (%x+)")
        local again = { lone:run("book", "1", "ann", "A2", "--request", id) }
        assert.equal(0, again[1], again[3])
    end)

    it("prints the same answer as JSON, Lua, CSV and a table", function()
        local _, json = usher { "events", "-w", "json" }
        assert.truthy(json:find('^%[{"event":"1"'), json)
        local _, lua = usher { "events", "-w", "lua" }
        assert.equal("1", load("return " .. lua)()[1].event)
        local _, csv = usher { "events", "-w", "csv" }
        assert.truthy(csv:find("^event,"), csv)
        local _, plain = usher { "events" }
        assert.is_nil(plain:find("\27", 1, true))
        local status, _, err = usher { "events", "-w", "xml" }
        assert.equal(2, status)
        assert.truthy(err:find("xml", 1, true))
    end)
end)

describe("the demo", function()
    it("starts three nodes, imports the cinema, runs piped input and ends cleanly", function()
        local dir = cluster.directory()
        local ports = { cluster.free_port(), cluster.free_port(), cluster.free_port() }
        local nodes = ('"localhost:%d", "localhost:%d", "localhost:%d"'):format(table.unpack(ports))
        cluster.write(dir .. "/config.lua", ('return { default = { nodes = { %s }, data = "d" } }'):format(nodes))
        local usher = cluster.usher:sub(1, 1) == "/" and cluster.usher or (require "luv".cwd() .. "/" .. cluster.usher)
        for round = 1, 2 do
            local status, out, err = process.run({ usher, "demo" }, { cwd = dir, seconds = 60,
                input = ("hold 1 ann C%d\nseats 1 --full\n"):format(round) })
            assert.equal(0, status, out .. err)
            assert.truthy(err:find("their data in d/default.", 1, true), err)
            assert.truthy(out:find("customer    ann", 1, true), out)
            assert.truthy(out:find(("held %d "):format(round), 1, true), out)
            assert.truthy(err:find(round == 1 and "8 charts and events added" or "8 were there", 1, true), err)
        end
        for _, port in ipairs(ports) do assert.is_nil((require "spec.support.resp".connect(port))) end
        os.execute("rm -rf '" .. dir .. "'")
    end)
end)
