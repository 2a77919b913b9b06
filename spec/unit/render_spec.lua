--- What the client draws and knows of a line: pure Lua, no cluster.
package.path = "lua/?.lua;" .. package.path
local render = require "usher.render"
local live = require "usher.live"
local width = require "usher.width"
local assist = require "usher.assist"

local function context(extra)
    local c = { format = "table", width = 80, height = 24, colour = false, piped = false }
    for key, value in pairs(extra or {}) do c[key] = value end
    return c
end

local function house(own)
    return { event = "1", index = 5, counts = { free = 4, held = 1, booked = 1, blocked = 0 }, taken = { A2 = "held" },
        own = own, rows = {
            { row = "A", section = "stalls", seats = {
                { seat = "A1", status = "free", category = "gold" }, { seat = "A2", status = "held", category = "gold",
                    aisle_after = true }, { seat = "A3", status = "free", category = "silver" } } },
            { row = "Balkon", section = "upstairs", seats = {
                { seat = "B1", status = "booked", category = "silver" },
                { seat = "B2", status = "free", category = "silver", accessible = true },
                { seat = "B3", status = "free", category = "silver" } } },
        } }
end

local function draw(value, extra, columns) return render.render("", value, columns or {}, context(extra)) end

describe("Lua", function()
    it("can be read again, whatever its keys are", function()
        local value = { window = { ["end"] = "22:00", ["goto"] = 1, from = "18:00" }, ["two words"] = { "a\nb", 1.5 },
            [""] = true, _x1 = false, ["1x"] = "ä\0" }
        assert.same(value, assert(load("return " .. draw(value, { format = "lua" })))())
    end)
end)

describe("the seats of an order", function()
    local function seats(...)
        local text = draw { order = "5Y31", seats = { ... } }
        return text:match("seats +(.-)\n") or text:match("seats +(.-)$")
    end

    it("are the words that ask for them", function()
        assert.equal("A1 A2=child FLOOR*3", seats({ event = "1", seat = "A1" },
            { event = "1", seat = "A2", type = "child" }, { event = "1", seat = "FLOOR", count = 3 }))
    end)

    it("name their events where there are several", function()
        assert.equal("1:D1 2:A1=child", seats({ event = "1", seat = "D1" },
            { event = "2", seat = "A1", type = "child" }))
    end)
end)

describe("a seat map", function()
    it("marks categories, aisles, accessible and own seats, and explains what it shows", function()
        local map = draw(house { "B1" })
        assert.truthy(map:find("A       1 h   2", 1, true), map) -- an aisle behind A2
        assert.truthy(map:find("Balkon  @ w 2", 1, true), map)
        assert.truthy(map:find("1 free, gold  2 free, silver", 1, true), map)
        assert.truthy(map:find("@ own", 1, true), map)
        assert.truthy(map:find("w free, accessible", 1, true), map)
    end)

    it("fits every width from 20 columns on and says the same with and without colours", function()
        for columns = 20, 90 do
            local plain = draw(house(), { width = columns })
            local coloured = draw(house(), { width = columns, colour = true })
            assert.equal(plain, (coloured:gsub("\27%[[%d;]*m", "")))
            for line in plain:gmatch("[^\n]+") do assert.is_true(width.of(line) <= columns, line) end
        end
        assert.truthy(draw(house(), { colour = true }):find("\27%[33mh\27%[0m"))
    end)

    it("is a line for each area where places have no numbers", function()
        local value = { event = "1", index = 5, counts = { free = 0, held = 0, booked = 0, blocked = 0 }, taken = {},
            areas = { { area = "FLOOR", category = "standing", capacity = 20, held = 0, booked = 20, free = 0 } } }
        assert.equal("event 1\nFLOOR: 0 of 20 free, held 0, booked 20", draw(value))
        value.rows = {}
        assert.equal("event 1\nFLOOR: 0 of 20 free, held 0, booked 20", draw(value))
        value.rows, value.counts.free = nil, 3
        assert.equal("event 1   free 3   held 0   booked 0   blocked 0\nFLOOR: 0 of 20 free, held 0, booked 20\n" ..
            "every seat is free; `seats 1 --full` draws the map", draw(value))
    end)

    local function hall(rows, seats, aisle)
        local list = {}
        for r, name in ipairs(rows) do
            list[r] = { row = name, section = "main", seats = {} }
            for i = 1, seats do
                list[r].seats[i] = { seat = name .. i, status = "free", aisle_after = i == aisle or nil }
            end
        end
        return { event = "1", index = 1, counts = { free = #rows * seats }, taken = {}, rows = list }
    end

    it("numbers the seats where the rows of a section agree", function()
        local map = draw(hall({ "A", "B" }, 12, 6))
        assert.truthy(map:find("\nmain\n   1       5           10\nA  . . . . . .   . . . . . .\nB", 1, true), map)
        local odd = hall({ "A", "B" }, 6)
        odd.rows[2].seats[1].seat = "B9"
        assert.truthy(draw(odd):find("\nmain\nA", 1, true), draw(odd))
    end)

    it("puts the seats close together before it breaks a row", function()
        local map = draw(hall({ "A" }, 60, 20), { width = 80 })
        assert.truthy(map:find("\n  1   5    10   15   20    25   30", 1, true), map)
        assert.truthy(map:find("\nA " .. ("."):rep(20) .. " " .. ("."):rep(40) .. "\n", 1, true), map)
        local narrow = draw(hall({ "A" }, 60), { width = 40 })
        assert.truthy(narrow:find("\nmain\nA " .. ("."):rep(38) .. "\n  " .. ("."):rep(22) .. "\n", 1, true), narrow)
    end)
end)

describe("tables", function()
    it("begin with what a row is about", function()
        local text = draw { { chart = "hall", seats = 10, rows = 1, areas = 0, categories = { "default" } } }
        assert.equal("chart  seats  areas  categories  rows\nhall   10     0      default     1", text)
    end)

    it("say of a list of events what their areas have", function()
        local counts = { free = 0, held = 0, booked = 0, blocked = 0 }
        local text = draw({ { event = "1", counts = counts, area_counts = { free = 3, held = 2, booked = 20 } },
            { event = "2", counts = counts } }, { piped = true })
        assert.equal("event  area_counts              free  held  booked  blocked\n" ..
            "1      free=3 held=2 booked=20  0     0     0       0\n" ..
            "2                               0     0     0       0", text)
    end)

    it("put what areas have beside the seats on a terminal, where a list of events fits 100 columns", function()
        local rows = {
            { event = "1", status = "open", counts = { free = 10, held = 0, booked = 0, blocked = 0 } },
            { event = "arena", status = "open", counts = { free = 19, held = 0, booked = 1, blocked = 0 },
                attributes = { title = "The Long Night of Rock", room = "the big one, by the river" },
                area_counts = { free = 12377, held = 3, booked = 920 } },
        }
        assert.equal("event  status  attributes                              free      held  booked  blocked\n" ..
            "1      open                                            10        0     0       0\n" ..
            "arena  open    room=the big one, by the river          19+12377  0+3   1+920   0\n" ..
            "               title=The Long Night of Rock\n" ..
            "+ places of areas, which have no seats: `event EVENT` shows each", draw(rows, { width = 86 }))
        assert.is_nil(draw({ rows[1] }, { width = 100 }):find("+", 1, true))
    end)

    it("show each area of an event", function()
        local text = draw({ event = "arena", areas = {
            { area = "FLOOR", category = "standing", capacity = 500, free = 480, held = 0, booked = 20 },
            { area = "NORTH", category = "terrace", capacity = 900, free = 0, held = 3, booked = 897 } } })
        assert.equal("event  arena\nareas:\n  area   category  capacity  free  held  booked\n"
            .. "  FLOOR  standing  500       480   0     20\n  NORTH  terrace   900       0     3     897", text)
    end)

    it("leave out what is empty in every row, and CSV does not", function()
        local rows = { { version = 2, name = "b", author = "" }, { version = 1, name = "a", author = "" } }
        local columns = { "version", "name", "restored", "author" }
        assert.equal("version  name\n2        b\n1        a", draw(rows, { piped = true }, columns))
        assert.equal("version,name,restored,author\n2,b,,\n1,a,,", draw(rows, { format = "csv" }, columns))
        rows[2].restored = 0
        assert.equal("version  name  restored\n2        b\n1        a     0", draw(rows, nil, columns))
    end)

    it("say which event each order of a list is of, in a table and in CSV", function()
        local orders = { { order = "7H2K", seats = { { event = "1", seat = "A1" }, { event = "1", seat = "A2" } } },
            { order = "8J3L", seats = { { event = "1", seat = "A3" }, { event = "2", seat = "FLOOR", count = 2 } } } }
        assert.equal("order  event  seats\n7H2K   1      A1 A2\n8J3L          1:A3 2:FLOOR*2",
            draw(orders, { piped = true }))
        assert.equal("order,event,seats\n7H2K,1,A1 A2\n8J3L,,1:A3 2:FLOOR*2",
            draw(orders, { format = "csv", piped = true }))
        assert.equal("order  event  seats\n7H2K   1      A1\nmore: orders --after 7H2K", draw({ { order = "7H2K",
            seats = { { event = "1", seat = "A1" } } }, { more = true, next = "orders --after 7H2K" } },
            { piped = true }))
    end)

    it("line up whatever alphabet names are written in", function()
        local text = draw { { name = "zoé", n = 1 }, { name = "日本", n = 2 }, { name = "e\u{301}a", n = 3 } }
        local columns = {}
        for line in text:gmatch("[^\n]+") do columns[#columns + 1] = width.of(line:match("^(.-)%S$")) end
        assert.same({ 6, 6, 6, 6 }, columns)
    end)

    it("stand below an answer that has lists of things, seats excepted", function()
        local text = draw({ order = "7H2K", seats = { { seat = "A1" }, { seat = "FLOOR", count = 2 } }, price = 900,
            rules = { { rule = "one", ok = true }, { rule = "two", ok = false } } }, { piped = true })
        assert.equal("order  7H2K\nseats  A1 FLOOR*2\nprice  900\n"
            .. "rules:\n  rule  ok\n  one   true\n  two   false", text)
    end)

    it("say of two orders that nothing was done, and what each rule said", function()
        local answer = { orders = { { order = "7H2K", status = "held" }, { order = "8J3L", status = "held" } },
            index = 7, dry_run = true, rules = { { rule = "one", ok = true } } }
        assert.equal("order  status\n7H2K   held\n8J3L   held\ndry_run  true\nrules:\n  rule  ok\n  one   true",
            draw(answer, { piped = true }))
        answer.dry_run, answer.rules = nil, nil
        assert.equal("order  status\n7H2K   held\n8J3L   held", draw(answer, { piped = true }))
    end)

    it("end with how a list that was cut goes on", function()
        local rows = { { event = "1" }, { more = true, next = "events --after 1" } }
        assert.equal("event\n1\nmore: events --after 1", draw(rows, { piped = true }))
        assert.equal("event\n1\nmore: events --after 1", draw(rows, { piped = true }, { "event" }))
        assert.equal("event,more,next\n1,,\n,true,events --after 1", draw(rows, { format = "csv" }, { "event" }))
    end)

    it("become blocks where the terminal is too narrow, never when piped", function()
        local rows = { { order = "7H2K", customer = ("x"):rep(30) }, { order = "8J3L", customer = "bob" } }
        assert.truthy(draw(rows, { width = 30 }):find("order     7H2K\ncustomer  xxx", 1, true))
        assert.truthy(draw(rows, { width = 30, piped = true }):find("^order  customer\n"))
    end)

    it("break the text of their widest column where that makes them fit", function()
        local rows = { { index = 7, what = "add-event 1 theater --attributes and more words" },
            { index = 8, what = "x" } }
        local text = draw(rows, { width = 40 })
        assert.equal("index  what\n7      add-event 1 theater --attributes\n       and more words\n8      x", text)
        local piped = draw(rows, { width = 40, piped = true })
        assert.truthy(piped:find("\n7      add-event 1 theater --attributes and more words\n", 1, true), piped)
    end)

    it("break the text of two columns where one is not enough, and never lose a word", function()
        local rows = { { check = "fsync", text = "slowest: localhost:7201, 26 ms for a write with its sync",
            advice = "every booking waits for a majority's disks: give them faster ones" },
            { check = "quorum", text = "3 voters" } }
        for columns = 20, 120 do
            local text = draw(rows, { width = columns })
            for line in text:gmatch("[^\n]+") do assert.is_true(width.of(line) <= columns, line) end
            local blank = text:gsub("%s+", " ")
            assert.truthy(blank:find("slowest:", 1, true) and blank:find("faster", 1, true), text)
        end
        local _, blocks = draw(rows, { width = 80 }):gsub("\n\n", "")
        assert.equal(0, blocks)
    end)

    it("let no value run into the next line's beginning, down to 20 columns", function()
        local order = { order = "FKYZ7RF4FSEB0", status = "held", customer = "ann", price = 0,
            expires_at = 1795477303120, seats = { { event = "1", seat = "D1" }, { event = "1", seat = "D2" } } }
        for columns = 20, 60 do
            local text = draw(order, { width = columns })
            for line in text:gmatch("[^\n]+") do assert.is_true(width.of(line) <= columns, line) end
            assert.equal(3, select(2, text:gsub("FKYZ7RF4FSEB0", "")), text) -- an id is never cut
        end
    end)

    it("break prose such as help between words, under its second column", function()
        local help = "status           State of the node\n" ..
            "transfer-leader  Hands leadership to another voter, the most advanced one"
        local text = draw(help, { width = 50 })
        assert.equal("status           State of the node\ntransfer-leader  Hands leadership to another\n" ..
            (" "):rep(17) .. "voter, the most advanced one", text)
        assert.equal(help, draw(help, { width = 50, piped = true }))
    end)

    it("show an expression that came to nil", function()
        assert.equal("nil", render.render("null", nil, {}, context()))
        assert.equal("null", render.render("null", nil, {}, context { format = "json" }))
    end)

    it("show times as local on a terminal and as ISO when piped, and no control characters", function()
        local value = { expires_at = 1795477303120, note = "a\27[31mb" }
        assert.truthy(draw(value, { piped = true }):find("2026-11-23T23:41:43Z", 1, true))
        assert.truthy(draw(value):find("%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d"))
        assert.is_nil(draw(value):find("\27", 1, true))
    end)
end)

describe("CSV", function()
    local function csv(value, columns)
        return render.render("", value, columns or {}, context { format = "csv", piped = true })
    end

    it("has counts as columns, what is nested as JSON", function()
        assert.equal('event,attributes,free,held,booked,blocked\n1,"{""n"":1,""title"":""A, B\\n""}",3,1,0,0',
            csv { { event = "1", attributes = { title = "A, B\n", n = 1 },
                counts = { free = 3, held = 1, booked = 0, blocked = 0 } } })
    end)

    it("has rows for each area of an event, the free places too", function()
        local value = { event = "1", index = 5, counts = { free = 0 }, taken = {}, areas = {
            { area = "FLOOR", category = "c", capacity = 9, held = 2, booked = 3 }, { area = "LAWN", capacity = 5 } } }
        assert.equal("event,index,seat,status,count\n1,5,FLOOR,free,4\n1,5,FLOOR,held,2\n1,5,FLOOR,booked,3\n" ..
            "1,5,LAWN,free,5", csv(value))
    end)

    it("says in each of two orders' rows that nothing was done", function()
        assert.equal('order,dry_run,rules\n7H2K,true,"[{""ok"":true}]"\n8J3L,true,"[{""ok"":true}]"',
            csv { orders = { { order = "7H2K" }, { order = "8J3L" } }, index = 7, dry_run = true,
                rules = { { ok = true } } })
        assert.equal("order\n7H2K", csv { orders = { { order = "7H2K" } }, index = 7 })
    end)

    it("has a row for each seat of an event", function()
        assert.equal("event,index,seat,status,count\n1,5,A2,held,1", csv { event = "1", index = 5,
            counts = { free = 1 }, taken = { A2 = "held" } })
        local whole = csv(house())
        assert.truthy(whole:find("^event,index,section,row,seat,status,count,category\n" ..
            "1,5,stalls,A,A1,free,1,gold\n"), whole)
        assert.equal(7, select(2, (whole .. "\n"):gsub("\n", "")))
        assert.equal("event,index,seat,status,count", csv { event = "1", index = 5, counts = { free = 1 }, taken = {} })
    end)
end)

describe("an answer", function()
    it("names the next useful command on a terminal, and only there", function()
        local order = { order = "7H2K", status = "held", seats = { { event = "1", seat = "A1" } } }
        assert.truthy(draw(order):find("\nnext    confirm 7H2K, or release 7H2K$"), draw(order))
        assert.is_nil(draw(order, { piped = true }):find("next", 1, true))
        assert.truthy(draw({ event = "1", removed = true }):find("next     events", 1, true))
    end)
end)

describe("what keeps coming", function()
    local change = { event = "1", index = 6, changes = { { seat = "A1", status = "booked" },
        { seat = "A3", status = "free" } } }

    it("redraws a map in place on a terminal and counts along", function()
        live.reset()
        local first = live.frame(render, "live", "", house(), {}, context())
        assert.is_nil(first:find("\27", 1, true))
        local second = live.frame(render, "change", "", change, {}, context())
        local _, lines = first:gsub("\n", "")
        assert.equal(("\27[%dA\r\27[J"):format(lines), second:match("^\27%[%d+A\r\27%[J"))
        assert.truthy(second:find("booked 2", 1, true), second)
        assert.truthy(second:find("A       X h", 1, true), second)
    end)

    it("never draws more lines than the screen has", function()
        live.reset()
        local text = live.frame(render, "live", "", house(), {}, context { height = 4 })
        assert.equal(3, select(2, text:gsub("\n", "")))
    end)

    it("is one line, one JSON text or rows of CSV when piped", function()
        live.reset()
        assert.truthy(live.frame(render, "change", "", change, {}, context { piped = true }):find(
            "Z  event 1  index 6  A1 booked, A3 free\n$"))
        assert.equal("{}\n", live.frame(render, "change", "{}", change, {}, context { format = "json" }))
        live.reset()
        assert.equal("event,index,seat,status,count\n1,6,A1,booked,1\n1,6,A3,free,1\n",
            live.frame(render, "change", "", change, {}, context { format = "csv" }))
        assert.equal("1,6,A1,booked,1\n1,6,A3,free,1\n",
            live.frame(render, "change", "", change, {}, context { format = "csv" }))
    end)
end)

describe("the console's idea of a line", function()
    local hold = { name = "hold", aliases = {}, kind = "transaction",
        usage = "hold EVENT CUSTOMER SEAT... [--ttl D] [--code C]...", args = {
            { name = "event", type = "event", required = true },
            { name = "customer", type = "customer", required = true },
            { name = "seats", type = "seat", required = true, many = true, help = "such as A1" },
            { name = "ttl", type = "duration", option = true }, { name = "code", type = "string", option = true,
                many = true } } }
    local forget = { name = "forget", aliases = {}, usage = "forget CUSTOMER",
        args = { { name = "customer", type = "customer", required = true } } }
    local paint = { name = "paint", aliases = {}, usage = "paint COLOUR [COATS]", args = {
        { name = "colour", type = "one_of", required = true, choices = { "red", "blue" } },
        { name = "coats", type = "int", required = false, default = "2" } } }
    setup(function() assist.define { hold, forget, paint } end)

    it("hints at what may follow", function()
        assert.equal("EVENT CUSTOMER SEAT... [--ttl D] [--code C]...", assist.hint "hold ")
        assert.equal("CUSTOMER SEAT... [--ttl D] [--code C]...", assist.hint "hold 1 ")
        assert.equal("[SEAT...] [--code C]...", assist.hint "hold 1 ann A1 --ttl 5m ")
        assert.equal("D", assist.hint "hold 1 ann A1 --ttl ")
        assert.equal("", assist.hint "hold = 7")
        assert.equal("", assist.hint "print(")
    end)

    it("asks for what is missing, offers defaults, and for nothing in Lua", function()
        assert.equal("event", assist.ask "hold")
        assert.truthy(assist.ask("hold 1 ann"):find("^seats, one or more: such as A1"))
        assert.is_nil(assist.ask "hold 1 ann A1")
        assert.is_nil(assist.ask "hold.x")
        assert.equal("colour: red, blue", assist.ask "paint")
        local question, default = assist.ask("paint red", "started")
        assert.equal("coats: int [2]", question)
        assert.equal("2", default)
        assert.is_nil(assist.ask "paint red")
        assert.equal('forget "two words"', assist.add("forget", "two words"))
    end)

    it("quotes an answer so that it is read as it was typed", function()
        for _, answer in ipairs { "O'Brien", 'two words', 'a "b" c', "back\\slash", "=1", "plain", "(x)" } do
            local words = assist.words(assist.add("forget", answer))
            assert.same({ "forget", answer }, words)
            assert.truthy(assist.command_of(assist.add("forget", answer)), answer)
        end
        assert.same({ "forget", "a\\b" }, assist.words("forget 'a\\b'")) -- as the node reads it
    end)

    it("asks before something dangerous and takes --yes for an answer", function()
        assert.truthy(assist.confirm "forget ann")
        assert.truthy((assist.confirm "forget ann"):find("customer ann", 1, true))
        local question, line = assist.confirm "forget ann --yes"
        assert.is_nil(question)
        assert.equal("forget ann", line)
        assert.is_nil((assist.confirm "hold 1 ann A1"))
    end)

    it("keeps no secrets in the history file", function()
        for _, line in ipairs { "hold 1 ann A1 --code X", "usher.hold { codes = { 'X' } }", " private",
            "config password hunter2", "print(secret)" } do
            assert.is_nil(assist.keep(line), line)
        end
        assert.truthy(assist.keep "hold 1 ann A1")
    end)

    it("completes its own lines beside the node's", function()
        local node = { from = 4, items = {}, hint = "key: string" }
        assert.equal("tput ", (assist.tab(node, "set ou", "80")))
        assert.equal("n ", (assist.tab({ from = 11, items = {} }, "set output jso", "80")))
        local insert, show = assist.tab({ from = 11, items = {} }, "set output ", "80")
        assert.equal("", insert)
        for _, name in ipairs { "csv", "json", "lua", "table" } do assert.truthy(show:find(name, 1, true), show) end
    end)

    it("inserts what candidates have in common, else lists them", function()
        local answer = { from = 5, items = { { text = "gala-1" }, { text = "gala-2" } } }
        assert.equal("la-", (assist.tab(answer, "seatsga", "80")))
        local insert, show = assist.tab(answer, "seatsgala-", "80")
        assert.equal("", insert)
        assert.equal("gala-1  gala-2", show)
        assert.equal("la-1 ", (assist.tab({ from = 5, items = { { text = "gala-1" } } }, "seatsga", "80")))
        assert.equal("Ö", (assist.tab({ from = 0, items = { { text = "Ö1" }, { text = "Ö2" } } }, "", "80")))
    end)
end)
