--- One definition of a command, one answer: the console, a one-shot, RESP and `usher run` say the same
--- to the same request, over every command.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local json = require "cjson"

--- Without the index: it says when the answer was true, and a repeated one is true later. Null is nil
--- in a script.
local function timeless(value)
    if type(value) ~= "table" then return value end
    local out = {}
    for key, item in pairs(value) do
        if key ~= "index" and item ~= json.null then out[key] = timeless(item) end
    end
    return out
end

--- Requests with an answer. One that writes carries a request id, so that all four surfaces ask for
--- the very same thing and get the very same answer.
local ANSWERED = {
    { "help" }, { "help", "hold" }, { "help", "orders" }, { "commands" }, { "whoami" }, { "config" },
    { "add-chart", "hall", '[{"row":"A","seats":4}]' }, { "add-event", "2", "hall", "--attributes", '{"title":"a b"}' },
    { "charts" }, { "events" }, { "event", "1" }, { "seats", "1" }, { "seats", "1", "--full" },
    { "hold", "1", "ann", "A1", "A2" }, { "book", "1", "bob", "A3..A5" }, { "best", "1", "cleo", "2" },
    { "orders", "--customer", "ann" }, { "orders" }, { "set", "k", '{"a":[1,null,"x y"]}' }, { "get", "k" }, { "keys" },
    { "block", "1", "A30" }, { "unblock", "1", "A30" }, { "cancel-seat", "1", "A5" }, { "close-event", "2" },
    { "open-event", "2" }, { "set-event", "2", "--attributes", "{}" }, { "waits", "1" },
    { "is-leader" }, { "leader" }, { "policies" }, { "complete-argument", "hold", "event" },
    -- what is gone cannot be asked about twice: each surface (#) removes and forgets its own
    { "remove-event", "gone#" }, { "unwait", "full", "guest#" }, { "forget", "guest#" },
    -- {n}: an order of the setup
    { "order", "{1}" }, { "extend", "{1}", "--ttl", "15m" }, { "confirm", "{1}" }, { "explain", "{1}" },
    { "move", "{2}", "A21", "A25" }, { "swap", "{2}", "A22", "{3}", "A23" }, { "split", "{2}", "A25" },
    { "cancel", "{3}" }, { "release", "{4}" }, { "wait", "full", "tom", "2" },
    { "add-showtime", "show#", '[{"row":"A","seats":2}]' }, { "remove-showtime", "show#" },
    { "get-state", "1" }, { "get-showtimes" }, { "reserve-seat", "1", "eve", "A30" }, { "get-logs", "3" },
}

--- Commands whose answer differs from moment to moment, that change the cluster, or that only a
--- console has; refusals of theirs are compared all the same.
local UNANSWERED = [[status nodes health doctor latency ps kill log monitor watch history exit complete scripts
    get-node-status get-raw-logs add-node remove-node replace-node transfer-leader drain snapshot backup backup-chunk
    policy deploy-policy rollback-policy rehearse-policy]]

--- Of those, requests whose answers must have the same fields of the same types.
local ALIKE = {
    { "status" }, { "nodes" }, { "health" }, { "doctor" }, { "scripts" }, { "log", "1..3" }, { "get-node-status" },
    { "get-raw-logs", "2" }, { "snapshot" }, { "complete", "hold 1 ann A" }, { "policy", "list" },
    { "add-node", "localhost:1", "--dry-run" },
}

--- Requests that are refused, beside the wrong option that every command is tried with.
local REFUSED = {
    { "hold" }, { "hold", "1", "ann" }, { "hold", "nowhere", "ann", "A1" }, { "hold", "1", "zoe", "A3" },
    { "hold", "1", "zoe", "Q77" }, { "hold", "1", "zoe", "A6", "--ttl", "soon" }, { "book", "1", "a b", "A6" },
    { "confirm", "NOSUCHORDER00" }, { "order", "NOSUCHORDER00" }, { "event", "nowhere" }, { "kill", "999999" },
    { "kill", "seven" }, { "help", "nonsense" }, { "add-event", "1", "hall" }, { "scripts", "dance" },
    { "reserve-seat", "1", "zoe", "A3" }, { "log", "9999999" }, { "transfer-leader" }, { "remove-node", "localhost:1" },
    { "replace-node", "localhost:1", "localhost:2" }, { "rollback-policy" }, { "policy", "show", "99" },
}

describe("every surface", function()
    local c
    setup(function()
        c = cluster.new { n = 1 }
        c:must(1, "add-event", "1", '[{"row":"A","seats":30}]')
        for i = 1, 4 do
            c:must(1, "add-event", "gone" .. i, '[{"row":"A","seats":2}]')
            c:must(1, "book", "1", "guest" .. i, "A" .. 8 + i)
        end
        c:must(1, "add-event", "full", '[{"row":"A","seats":2}]')
        c:must(1, "book", "full", "ann", "A1", "A2")
        for i = 1, 4 do c:must(1, "wait", "full", "guest" .. i, "1") end
        local function order(...) return c:must(1, ...).order end
        c.orders = {
            ["{1}"] = order("hold", "1", "kim", "A18", "A19"), ["{2}"] = order("book", "1", "lea", "A21", "A22"),
            ["{3}"] = order("book", "1", "mia", "A23"), ["{4}"] = order("hold", "1", "nils", "A28"),
        }
        cluster.write(c.dir .. "/call.lua", "return usher.call(table.unpack(arg))")
    end)
    teardown(function() c:close() end)

    local function usher(...)
        return process.run({ cluster.usher, ... }, { env = { USHER_ADDR = c:addresses() } })
    end

    local function quoted(words)
        local out = {}
        for i, word in ipairs(words) do out[i] = "'" .. word:gsub("[\\']", "\\%0") .. "'" end
        out[1] = words[1]
        return table.concat(out, " ")
    end

    --- Answer (decoded) and error line of the four; a # in a word is the surface's number.
    local function ask(words)
        local found = {}
        local function own()
            local out = {}
            for i, word in ipairs(words) do
                out[i] = word:gsub("#", tostring(#found + 1)):gsub("{%d}", c.orders)
            end
            return out
        end
        local numbered = table.concat(words):find("#", 1, true)
        local function plain(text)
            if not numbered then return text end
            return (text:gsub("gone%d", "gone#"):gsub("guest%d", "guest#"):gsub("show%d", "show#")
                :gsub("forgotten%-%w+", "forgotten-#"))
        end
        local resp, why = c:call(1, table.unpack(own()))
        found[1] = { "RESP", resp and json.decode(plain(resp)), why }
        local function program(name, ...)
            local status, out, err = usher(...)
            out = plain(out)
            local line = err:match("^[^\n]+")
            found[#found + 1] = { name, status == 0 and out ~= "" and json.decode(out) or nil,
                status ~= 0 and line or nil }
            assert.equal(resp ~= nil, status == 0, name .. ": " .. quoted(words) .. "\n" .. out .. err)
        end
        program("one-shot", "-w", "json", table.unpack(own()))
        program("console", "console", "-w", "json", "-c", quoted(own()))
        program("usher run", "run", "-w", "json", c.dir .. "/call.lua", table.unpack(own()))
        return found
    end

    local function same(words)
        local found = ask(words)
        for i = 2, #found do
            local place = ("%s of `%s`"):format(found[i][1], table.concat(words, " "))
            assert.same({ place, timeless(found[1][2]), found[1][3] }, { place, timeless(found[i][2]), found[i][3] })
        end
        return found[1][2], found[1][3]
    end

    it("gives the same answer", function()
        local writes = {}
        for _, definition in ipairs(c:must(1, "commands")) do
            writes[definition.name] = definition.kind == "transaction" and not definition.read
        end
        writes["reserve-seat"] = true
        local covered = {}
        for name in UNANSWERED:gmatch("%S+") do covered[name] = true end
        for _, words in ipairs(ANSWERED) do covered[words[1]] = true end
        for name in pairs(writes) do assert.is_true(covered[name], name .. " is in no table of this spec") end
        for n, words in ipairs(ANSWERED) do
            local full = { table.unpack(words) }
            if writes[words[1]] and not table.concat(words):find("#", 1, true) then
                table.insert(full, 2, "--request")
                table.insert(full, 3, "same-" .. n)
            end
            local answer = same(full)
            assert.is_not_nil(answer, table.concat(words, " "))
        end
    end)

    --- A value with its types in the place of what differs from moment to moment.
    local function shape(value)
        if type(value) ~= "table" then return type(value) end
        if value[1] ~= nil then return { shape(value[1]) } end
        local out = {}
        for key, item in pairs(timeless(value)) do out[key] = shape(item) end
        return out
    end

    it("gives an answer of the same form where it differs from moment to moment", function()
        for _, words in ipairs(ALIKE) do
            local found = ask(words)
            assert.is_nil(found[1][3], table.concat(words, " "))
            for i = 2, #found do
                local place = ("%s of `%s`"):format(found[i][1], table.concat(words, " "))
                assert.same({ place, shape(found[1][2]) }, { place, shape(found[i][2]) })
            end
        end
    end)

    it("gives the same refusal", function()
        for _, words in ipairs(REFUSED) do
            local _, why = same(words)
            assert.truthy(why and why:find("^%u+ "), tostring(why))
        end
    end)

    it("gives the same refusal of an unknown command where it cannot be Lua", function()
        local _, why = c:call(1, "frobnicate", "x")
        local _, _, err = usher("frobnicate", "x")
        assert.equal(why, err:match("^[^\n]+"))
        _, _, err = usher("run", c.dir .. "/call.lua", "frobnicate", "x")
        assert.equal(why, err:match("^[^\n]+"))
    end)

    it("refuses what no command knows with the same words, for every command", function()
        local list = c:must(1, "commands")
        assert.truthy(#list > 40)
        for _, definition in ipairs(list) do
            local _, why = c:call(1, definition.name, "--no-such-option")
            assert.truthy(why and why:find("^BADARG"), definition.name .. ": " .. tostring(why))
        end
        -- one process for each surface and command would take minutes: the three share one each
        local lines = {}
        for i, definition in ipairs(list) do
            lines[i] = ("do local _, m, c, h = usher.call(%q, '--no-such-option') " ..
                "print(c .. ' ' .. m .. (h and '; ' .. h or '')) end"):format(definition.name)
        end
        cluster.write(c.dir .. "/all.lua", table.concat(lines, "\n"))
        local status, out, err = usher("run", c.dir .. "/all.lua")
        assert.equal(0, status, err)
        local n = 0
        for line in out:gmatch("[^\n]+") do
            n = n + 1
            local _, why = c:call(1, list[n].name, "--no-such-option")
            assert.equal(why, line)
        end
        assert.equal(#list, n)
    end)

    local function shell(line)
        return process.run({ "/bin/sh", "-c", line }, { env = { USHER = cluster.usher, USHER_ADDR = c:addresses() } })
    end

    it("fails when its output cannot be written", function()
        for _, program in ipairs { "events", "-w json events", "console -c events", "version", "--help",
            "config show --file " .. c.config, "run " .. c.dir .. "/call.lua events" } do
            for _, to in ipairs { "> /dev/full", ">&-" } do
                local status, _, err = shell(("exec $USHER %s %s"):format(program, to))
                assert.equal(1, status, program .. " " .. to)
                assert.truthy(err:find("^%u+ the output could not be written: "), program .. " " .. to .. ": " .. err)
            end
        end
    end)

    it("ends when nobody reads any more what it follows", function()
        c:must(1, "add-event", "read", '[{"row":"A","seats":2}]')
        for _, program in ipairs { "monitor", "watch", "log --follow" } do
            local out = c.dir .. "/reader"
            local pipe = process.start({ "/bin/sh", "-c", "$USHER " .. program .. " | head -n 2" },
                { out = out, env = { USHER = cluster.usher, USHER_ADDR = c.nodes[1].address } })
            process.wait_for(program .. " ends", 20, function()
                c:must(1, "block", "read", "A1")
                c:must(1, "unblock", "read", "A1")
                return pipe:ended()
            end)
            assert.truthy(pipe:output():find("\n.*\n"), pipe:output())
        end
    end)
end)
