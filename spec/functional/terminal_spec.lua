--- The console as a person has it: the real program in a real terminal (tmux), keys and all.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local terminal = require "spec.support.terminal"
local uv = require "luv"

local usher = cluster.usher:sub(1, 1) == "/" and cluster.usher or uv.cwd() .. "/" .. cluster.usher

--- Names of a hall and people that are not ASCII, one of them twice as wide.
local WIDE = "日本"

describe("the console in a terminal", function()
    local c, t, state
    setup(function()
        c = cluster.new()
        c:must(1, "add-chart", "hall", '[{"row":"A","seats":12},{"row":"Ö","seats":12}]')
        c:must(1, "add-event", "gala", "hall", "--attributes", '{"title":"Gala"}')
        c:must(1, "add-event", "matinee", "hall")
    end)
    teardown(function() c:close() end)
    before_each(function()
        for i = 1, 3 do -- whatever an earlier test left
            if c.nodes[i].paused then c:resume(i) end
            if not c:running(i) then c:start(i) end
        end
        c:ready()
        state = uv.cwd() .. "/" .. cluster.directory()
    end)
    after_each(function()
        if t then t:close() end
        t = nil
        os.execute("rm -rf '" .. state .. "'")
    end)

    local function open(options)
        options = options or {}
        local env = { XDG_STATE_HOME = state, USHER_ADDR = options.addresses or c:addresses() }
        for name, value in pairs(options.env or {}) do env[name] = value end
        t = terminal.start({ usher, "console", table.unpack(options.words or {}) }, { dir = state, env = env,
            width = options.width, height = options.height })
        t:wait(options.prompt or "@default>")
        return t
    end

    --- Waits for an idle prompt: nothing behind it.
    local function idle(seconds)
        return t:wait_last(function(line) return line:find("^%S+@default>$") or line == "not connected>" end, seconds)
    end

    local function prompts() return select(2, t:screen(true):gsub("@default>", "")) end

    --- Types a line and waits for the prompt behind its answer.
    local function run(line)
        local before = prompts()
        t:line(line)
        local ok = process.poll(20, function() return prompts() > before end)
        if not ok then error(("no other prompt after %s\n%s"):format(line, t:screen()), 2) end
        idle()
        return t:screen(true)
    end

    it("names the node, its role and the profile, and runs commands and Lua", function()
        open()
        assert.truthy(t:last():find("^node[012]%([a-z]+%)@default>$"), t:last())
        local screen = run("hold gala ann A1 A2 --ttl 20m")
        assert.truthy(screen:find("status%s+held"), screen)
        run("x = 20")
        assert.truthy(run("x + 22"):find("\n42\n", 1, true))
    end)

    it("names the profile of the node, not one of this machine's that nobody asked for", function()
        local own = cluster.new { n = 1, start = false }
        cluster.write(own.config, ("return { default = { 'localhost:1' }, two = { nodes = { %q }, data = %q } }")
            :format(own.nodes[1].address, own.dir))
        own:start(1, "--config", "two")
        own:ready()
        open { addresses = own.nodes[1].address, prompt = "node0(leader)@two>" }
        own:close()
    end)

    it("joins the lines of a statement behind another prompt, and errors show their place", function()
        open()
        t:line("function twice(n)")
        t:wait_last("...>")
        t:line("return 2 * n")
        t:wait_last("...>")
        t:line("end")
        idle()
        assert.truthy(run("= twice(21)"):find("\n42\n", 1, true))
        assert.truthy(run("= twice({})"):find("console:2: attempt to perform arithmetic", 1, true))
        assert.truthy(run("= 1 + + 2"):find("console:1: unexpected symbol near '+'", 1, true))
    end)

    it("asks for no more lines when a program that reads files refuses its words", function()
        open()
        cluster.write(state .. "/mine.lua", "return policy { name = 'mine' }")
        assert.truthy(run("policy diff " .. state .. "/mine.lua | head"):find("BADARG", 1, true))
        assert.truthy(run("= 6 * 7"):find("\n42\n", 1, true), t:screen())
    end)

    it("shows a command's help for a lone ? behind it, and neither asks nor runs", function()
        open()
        for _, word in ipairs { "hold", "best", "cancel", "drain" } do
            assert.truthy(run(word .. " ?"):find("\nusage: " .. word .. " ", 1, true) or
                t:screen():find(word .. " [^\n]*\n"), t:screen())
            assert.is_nil(t:screen(true):find(" ?: ", 1, true))
        end
        assert.is_nil(t:screen(true):find("left, nothing was done", 1, true))
    end)

    it("asks for what a command needs that was deployed meanwhile", function()
        open()
        local bundle = [[return policy { commands = { command { name = "enter", group = "doors", summary = "Count",
            args = { { "door", "int" }, { "who", "string", help = "whom" } },
            run = function(_, req) return { let_in = req.who } end } } }]]
        c:must(2, "policy", "deploy", bundle)
        t:wait(function()
            t:press("C-u")
            t:type("enter ")
            return process.poll(1, function() return t:last():find("DOOR WHO", 1, true) end)
        end, 20)
        t:type("4")
        t:press("Enter")
        t:wait("who: whom")
        t:line("zoe")
        t:wait(function(screen) return screen:find("let_in%s+zoe") end)
        c:must(2, "policy", "rollback")
    end)

    it("completes commands, events, seats, options, orders, nodes, Lua names and fields by Tab", function()
        open()
        local function tab(typed, expected)
            t:type(typed)
            t:press("Tab")
            t:wait(function() return (t:last() or ""):find("@default> " .. expected, 1, true) end)
            t:press("C-c")
            idle()
        end
        tab("tran", "transfer-leader")
        tab("event ga", "event gala")
        tab("hold gala ann A1", "hold gala ann A1") -- several: the common part stays
        tab("hold gala ann Ö12", "hold gala ann Ö12")
        tab("hold gala ann A3 --met", "hold gala ann A3 --metadata")
        tab("transfer-leader localhost:" .. tostring(c.nodes[1].port), "transfer-leader " .. c.nodes[1].address)
        tab("add-event new ha", "add-event new hall")
        c:must(1, "set", "season-2026", "1")
        tab("get sea", "get season-2026")
        tab("add-node localhost:" .. tostring(c.nodes[1].port), "add-node localhost:" .. tostring(c.nodes[1].port))
        tab("set-event gala --chart ha", "set-event gala --chart hall")
        local order = c:must(1, "book", "gala", "zoe", "A9").order
        tab("cancel " .. order:sub(1, 6), "cancel " .. order)
        run("treasure = { chest = { gold = 7 } }")
        tab("= trea", "= treasure")
        tab("= treasure.ch", "= treasure.chest")
        tab("= treasure.chest.go", "= treasure.chest.gold")
        tab("= usher.add_ch", "= usher.add_chart")
        tab("= json.enc", "= json.encode")
        t:type("hold ma")
        t:press("Tab")
        t:type("bob ")
        t:press("Tab", "Tab")
        local screen = t:wait("Ö11", 10)
        assert.truthy(screen:find("A12", 1, true), screen) -- the list of free seats
    end)

    it("completes what a command of one's own completes", function()
        local path = c.dir .. "/own.lua"
        cluster.write(path, [[return command { name = "paint", kind = "node", group = "test", access = "operator",
            summary = "Paints", example = "paint crimson",
            args = { { "colour", "string", complete = function() return { "crimson", "turquoise" } end } },
            run = function(_, req) return req.colour end }]])
        local own = cluster.new { n = 1, profile = ("scripts = { %q }"):format(uv.cwd() .. "/" .. path) }
        open { addresses = own.nodes[1].address }
        t:type("paint tu")
        t:press("Tab")
        t:wait("paint turquoise")
        t:press("Enter")
        t:wait("\nturquoise\n")
        own:close()
    end)

    it("shows what may follow while a line is typed, as far as there is room", function()
        open()
        t:type("hold ")
        t:wait("EVENT CUSTOMER SEAT... [--ttl D]")
        t:type("gala ann ")
        t:wait(function(screen)
            local last = screen:match("([^\n]*)\n$")
            return last:find("SEAT... [--ttl D]", 1, true) and not last:find("CUSTOMER", 1, true)
        end)
        t:press("Enter") -- and it does not stay behind
        t:wait(function(screen) return not screen:find("SEAT...", 1, true) end)
        t:press("C-c")
    end)

    it("asks for missing arguments; empty or cancel leaves", function()
        open()
        t:line("book")
        t:wait("event: its id, as `events` lists it")
        t:line("gala")
        t:wait("customer: for whom")
        t:line("O'Hara")
        t:wait("seats, one or more: such as A1, A1..A8")
        t:line("A5 A6")
        t:wait('book gala "O\'Hara" A5 A6')
        t:wait(function(screen) return screen:find("customer%s+O'Hara\nseats%s+A5 A6") end)
        for _, leave in ipairs { "cancel", "" } do
            t:line("cancel")
            t:wait_last(function(line) return line:find("^order") end)
            t:line(leave)
            t:wait("left, nothing was done")
            run("= 1")
        end
    end)

    it("says what a misspelt command or option may have meant", function()
        open()
        assert.truthy(run("hodl gala ann A7"):find("there is no command `hodl`; did you mean `hold`?", 1, true))
        assert.truthy(run("evnts"):find("did you mean `events`?", 1, true))
        assert.truthy(run("hold gala ann A7 --tll 5m"):find("--ttl", 1, true))
        assert.truthy(run("help hodl"):find("did you mean `hold`?", 1, true))
        t:resize(50, 30)
        local screen = run("order 7H2K extra") -- broken between words
        assert.truthy(screen:find("\nBADARG 'extra' is one argument too many; usage:\norder ORDER\n", 1, true), screen)
    end)

    it("keeps its history over sessions, several lines as one entry, and searches it; no secrets", function()
        open()
        t:line("for i = 1, 2 do")
        t:wait_last("...>")
        t:line("answer = 40 + i end")
        idle()
        run("hold gala kim A8 --code SESAME")
        run("= 'needle'")
        run("= 'last'")
        t:press("C-d")
        t:wait("[ended 0]")
        local path = state .. "/usher/history"
        local file = assert(io.open(path))
        local text = file:read("a")
        file:close()
        assert.is_nil(text:find("SESAME", 1, true))
        assert.equal(384, uv.fs_stat(path).mode % 512) -- 0600
        t:close()
        open()
        t:press("Up")
        t:wait("> = 'last'")
        t:press("Up", "Up")
        t:wait("answer = 40 + i end")
        t:press("Enter")
        idle()
        assert.truthy(run("= answer"):find("\n42\n", 1, true))
        t:press("C-r")
        t:type("needle")
        t:wait("= 'needle'")
        t:press("Enter")
        t:wait("\nneedle\n")
        assert.truthy(run("history 3"):find("= answer", 1, true))
    end)

    it("clears the line on Ctrl-C at the prompt and leaves on Ctrl-D; the node serves on", function()
        open()
        t:type("hold gala ann A1")
        t:press("C-c")
        idle()
        assert.truthy(run("= 6 * 7"):find("\n42\n", 1, true))
        t:line("if true then")
        t:wait_last("...>")
        t:press("C-c")
        idle()
        t:press("C-d")
        t:wait("[ended 0]")
        assert.truthy(c:must(1, "status").role)
    end)

    it("ends only the running statement on Ctrl-C: a loop for ever, a sleep, a watch", function()
        local function at_work() return #c:must(1, "ps") + #c:must(2, "ps") + #c:must(3, "ps") > 0 end
        open()
        run("kept = 'kept'")
        for _, endless in ipairs { "while true do end", "sleep '1h'", "watch gala", "monitor", "log --follow",
            "while true do pcall(sleep, 1) end" } do
            local before = prompts()
            t:line(endless)
            process.wait_for(endless .. " is at work", 10, at_work)
            t:press("C-c")
            process.wait_for("another prompt after " .. endless, 20, function() return prompts() > before end)
            idle()
            assert.truthy(t:screen():find("interrupted", 1, true), t:screen())
        end
        assert.truthy(run("= kept"):find("\nkept\n", 1, true))
        process.wait_for("nothing is left at work", 10, function() return not at_work() end)
    end)

    it("says what it waits for on a second Ctrl-C and gives up on a third, when the node is stuck", function()
        local leader = c:leader()
        local stuck = leader % 3 + 1
        open { addresses = c.nodes[stuck].address .. "," .. c.nodes[leader].address }
        c:pause(stuck)
        t:line("= 1")
        t:press("C-c")
        t:press("C-c")
        t:wait("waiting for " .. c.nodes[stuck].address .. " to end `= 1`")
        t:press("C-c")
        t:wait("given up waiting")
        c:resume(stuck)
        assert.truthy(run("= 6 * 7"):find("\n42\n", 1, true))
    end)

    it("shows the new role, says when it is not connected and reconnects by itself to another node", function()
        local leader = c:leader()
        open { addresses = c.nodes[leader].address .. "," .. c.nodes[leader % 3 + 1].address }
        t:wait(("node%d(leader)@default>"):format(leader - 1))
        c:must(leader, "transfer-leader")
        t:wait(("node%d(follower)@default>"):format(leader - 1))
        c:kill(leader)
        t:wait(function(screen)
            local last = screen:match("([^\n]*)\n$")
            return last:find(("^node%d%%("):format(leader % 3))
        end)
        assert.truthy(run("= 6 * 7"):find("\n42\n", 1, true))
        c:start(leader)
        c:ready()
        t:close()
        local alone = cluster.new { n = 1 }
        open { addresses = alone.nodes[1].address }
        alone:kill(1)
        t:wait_last("not connected>")
        t:line("= 1")
        t:wait("cannot reach")
        alone:start(1)
        t:wait_last("node0(leader)@default>")
        alone:close()
    end)

    it("takes a paste of 1,000 lines, whole and in order", function()
        open { height = 50 }
        local lines = { "seen = {}" }
        for i = 1, 999 do lines[#lines + 1] = ("seen[#seen + 1] = %d"):format(i) end
        t:paste(table.concat(lines, "\n") .. "\n")
        t:wait("seen[#seen + 1] = 999", 120)
        idle(60)
        run("local s = 0 for i, v in ipairs(seen) do assert(v == i) s = s + v end print('sum', s)")
        assert.truthy(t:screen():find("\nsum%s+499500\n"), t:screen())
    end)

    it("edits and shows names of any alphabet, and keeps columns straight", function()
        open { width = 200 }
        local before = prompts()
        t:type("hold gala zoé" .. WIDE .. "x Ö3")
        t:press("Left", "Left", "Left", "BSpace") -- over the blank, drops the x
        t:wait("zoé" .. WIDE .. " Ö3")
        t:press("Enter")
        process.wait_for("the answer", 20, function() return prompts() > before end)
        assert.truthy(t:screen():find("customer%s+zoé" .. WIDE), t:screen())
        c:must(1, "hold", "gala", "bob", "Ö4")
        local screen = run("orders --event gala --status held")
        local wide = screen:match("\n(%w+ +gala +held +zoé" .. WIDE .. "[^\n]*)")
        local narrow = screen:match("\n(%w+ +gala +held +bob[^\n]*)")
        assert.truthy(wide and narrow, screen)
        local function column(line) return utf8.len((line:match("^(.-)Ö[34]"):gsub(WIDE, "1234"))) end
        assert.equal(column(wide), column(narrow), screen)
    end)

    it("fits a terminal of 20 columns, with colours and without", function()
        c:must(1, "add-event", "small", "hall")
        open { width = 20, height = 60, env = { NO_COLOR = "1" }, prompt = "t>" }
        t:line("seats small --full")
        t:wait("# blocked")
        local screen = t:screen()
        for line in screen:gmatch("[^\n]+") do assert.is_true(utf8.len(line) <= 20, line) end
        assert.truthy(screen:find("\nÖ ............\n", 1, true), screen)
        assert.is_nil(t:screen(false, true):find("\27%[3[123]m"))
        t:resize(60, 60)
        t:line("seats small --full")
        t:wait("A  . . . . . . . . . . . .", 10)
        t:line("help cluster")
        t:wait("another voter, the most") -- broken between words
        t:close()
        open { width = 60, height = 40 }
        t:line("seats small --full")
        t:wait("# blocked")
        assert.truthy(t:screen(false, true):find("\27%[32m"), "a terminal has colours")
    end)

    it("shows a long answer page by page; q leaves", function()
        local rows = {}
        for i = 1, 60 do rows[i] = ('{"row":"R%d","seats":4}'):format(i) end
        c:must(1, "add-event", "long", "[" .. table.concat(rows, ",") .. "]")
        open { height = 20 }
        t:line("seats long --full")
        t:wait("lines: space goes on")
        assert.is_nil(t:screen():find("R30", 1, true))
        t:press("Space")
        t:wait("R30")
        t:press("q")
        idle()
        assert.is_nil(t:screen():find("R60", 1, true))
    end)

    it("leaves the pages of a one-shot by Ctrl-C, and the terminal as it was", function()
        t = terminal.start({ "/bin/sh", "-c", "trap : INT; " .. usher .. " commands -w lua; stty" },
            { dir = state, env = { USHER_ADDR = c:addresses() } })
        t:wait("lines: space goes on")
        t:press("C-c")
        t:wait("[ended 0]")
        assert.is_nil(t:screen():find("-icanon", 1, true), t:screen())
        assert.is_nil(t:screen():find("-echo ", 1, true), t:screen())
    end)

    it("asks before something dangerous; --yes answers it in advance", function()
        c:must(1, "add-event", "doomed", "hall")
        c:must(1, "book", "doomed", "ann", "A1")
        open()
        t:line("remove-event doomed --cancel-orders")
        t:wait("This will cancel every order of event doomed and remove it. Go on? [y/N]")
        t:line("n")
        t:wait("left, nothing was done")
        assert.truthy(c:must(1, "event", "doomed", "--linearizable"))
        local screen = run("remove-event doomed --cancel-orders --yes")
        assert.truthy(screen:find("removed%s+true"), screen)
    end)

    it("draws a watched map in place and leaves it on Ctrl-C", function()
        open { width = 60, height = 40 }
        t:line("watch matinee")
        t:wait("watching; Ctrl-C ends it")
        local order = c:must(2, "book", "matinee", "ann", "A1", "A2").order
        t:wait("A  X X")
        t:wait("booked 2")
        c:must(3, "cancel", order)
        t:wait("A  . .")
        assert.equal(1, select(2, t:screen(true):gsub("event matinee", "")), "it is drawn over, not again")
        t:press("C-c")
        idle()
    end)

    it("changes the output format for the session", function()
        open()
        t:type("set ou")
        t:press("Tab")
        t:wait_last(function(line) return line:find("> set output +table|json|lua|csv$") end)
        t:line("json")
        t:wait("answers are shown as json from now on")
        idle()
        assert.truthy(run("= { a = 1 }"):find('\n{"a":1}\n', 1, true))
        run("set output table")
        assert.truthy(run("= { a = 1 }"):find("\na  1\n", 1, true), t:screen())
        assert.truthy(run("set output xml"):find("set output table, json, lua or csv", 1, true))
    end)
end)

describe("the terminal of a node", function()
    it("has a console that leaves on Ctrl-D and says how to stop the node; nothing there stops it", function()
        local dir = uv.cwd() .. "/" .. cluster.directory()
        local port = cluster.free_port()
        cluster.write(dir .. "/config.lua", ('return { default = { nodes = { "localhost:%d" }, data = %q } }'):format(
            port, dir .. "/data"))
        local t = terminal.start({ usher, "node", "--id", "0", "--file", dir .. "/config.lua" },
            { dir = dir, env = { XDG_STATE_HOME = dir } })
        local ok, err = pcall(function()
            t:wait("node0(leader)@default>")
            t:line("while true do end")
            t:press("C-z")
            t:press("C-\\")
            t:press("C-c")
            t:wait("interrupted")
            t:line("= 6 * 7")
            t:wait("\n42\n")
            t:type("= 6 *")
            local status = process.run({ usher, "run", "--at", "localhost:" .. port, "-" },
                { input = "log.info('said aloud')" })
            assert.equal(0, status)
            t:wait_last("node0(leader)@default> = 6 *") -- again, below what was logged
            assert.truthy(t:screen():find("said aloud\nnode0(leader)@default> = 6 *", 1, true), t:screen())
            assert.is_nil(t:screen():find("> = 6 *2", 1, true), t:screen())
            t:line(" 8")
            t:wait("\n48\n")
            t:press("C-d")
            t:wait("Ctrl-C stops it")
            local reply = process.wait_for("it serves", 10, function()
                local client = require "spec.support.resp".connect(port)
                return client and client:call("ping")
            end)
            assert.equal("PONG", reply)
            t:press("C-c")
            t:wait("[ended 0]")
        end)
        t:close()
        os.execute("rm -rf '" .. dir .. "'")
        if not ok then error(err, 0) end
    end)

    it("has a console for one of the profile's users, where it has some", function()
        local dir = uv.cwd() .. "/" .. cluster.directory()
        cluster.write(dir .. "/config.lua", ([[return { default = { nodes = { "localhost:%d" }, data = %q,
            users = { boss = { password = "boss-secret", access = "admin" } } } }]]):format(
            cluster.free_port(), dir .. "/data"))
        local argv = { usher, "node", "--id", "0", "--file", dir .. "/config.lua" }
        local screen = terminal.start(argv, { dir = dir, env = { XDG_STATE_HOME = dir } })
        local ok, err = pcall(function()
            screen:wait("no console in this terminal: the profile has users; --user NAME gives one")
            screen:wait("the profile has no secret: only this machine is served")
            assert.is_nil(screen:screen():find("everybody is admin", 1, true))
            screen:press("C-c")
            screen:wait("[ended 0]")
            screen:close()
            table.insert(argv, "--user")
            table.insert(argv, "boss")
            screen = terminal.start(argv, { dir = dir, env = { XDG_STATE_HOME = dir } })
            screen:wait("password of boss:")
            screen:line("boss-secret")
            screen:wait("node0(leader)@default>")
            screen:line("whoami")
            screen:wait(function(text) return text:find("name +boss\naccess +admin") end)
            assert.is_nil(screen:screen(true):find("boss-secret", 1, true))
            screen:press("C-c")
            screen:press("C-d")
            screen:wait("Ctrl-C stops it")
            screen:press("C-c")
            screen:wait("[ended 0]")
        end)
        screen:close()
        os.execute("rm -rf '" .. dir .. "'")
        if not ok then error(err, 0) end
    end)
end)
