--- Majorities lost and won again: clear words within seconds, service back by itself, and no
--- leader that still believes it leads answers a linearizable read from the past.
local cluster = require "spec.support.cluster"
local members = require "spec.support.members"
local process = require "spec.support.process"

local PATIENCE_S = 3
--- Not to be tried by their example here: these end, or block, the node or the client by intent.
local OTHER = { exit = true, kill = true, drain = true }

describe("a cluster without a majority", function()
    local c
    setup(function()
        c = cluster.new()
        c:must(1, "add-event", "1", '[{"row":"A","seats":50}]')
    end)
    teardown(function() c:close() end)

    local function others(i) return i % 3 + 1, (i + 1) % 3 + 1 end

    --- Words of an example line: between single quotes one word.
    local function words_of(line)
        local words, quoted = {}, false
        for part in (line .. "'"):gmatch("(.-)'") do
            if quoted then words[#words + 1] = part
            else for word in part:gmatch("%S+") do words[#words + 1] = word end end
            quoted = not quoted
        end
        return words
    end

    --- Asks node i, which must not keep anybody waiting: a second or two, and what the machine takes.
    local function at_once(i, words)
        local began = process.now()
        local reply, why = members.ask(c, i, table.unpack(words))
        local took = process.now() - began
        assert.is_true(took < PATIENCE_S, ("%s took %.1f s"):format(table.concat(words, " "), took))
        return reply, why
    end

    it("says NOQUORUM soon, on every command that needs one, and what to do", function()
        local left = c:leader()
        local a, b = others(left)
        c:kill(a)
        c:kill(b)
        local commands = {
            { "book", "1", "ann", "A1" }, { "event", "1", "--linearizable" }, { "health" },
            { "add-node", "localhost:1" }, { "remove-node", c.nodes[a].address },
            { "replace-node", c.nodes[a].address, "localhost:1" }, { "transfer-leader" }, { "leader" },
        }
        for _, definition in ipairs(c:must(left, "commands")) do
            if definition.kind == "transaction" and not definition.read then
                commands[#commands + 1] = words_of(definition.example)
            end
        end
        assert.is_true(#commands > 30)
        for _, words in ipairs(commands) do
            local reply, why = at_once(left, words)
            assert.is_nil(reply, words[1])
            -- A booking that was already in the log when the majority went has an open outcome.
            assert.truthy(why:find("^NOQUORUM ") or why:find("^UNKNOWN "), words[1] .. ": " .. why)
            assert.truthy(why:find(";", 1, true), why) -- and a way on
        end
        assert.equal("error", c:must(left, "doctor")[1].status)
        process.wait_for("what the others told is old", 20, function() -- of them nothing is known then
            for _, row in ipairs(c:must(left, "doctor")) do
                if row.check == "policy" then return row.text:find("loaded on 1 of 3", 1, true), row.text end
            end
        end)
        assert.truthy(c:must(left, "seats", "1")) -- local reads go on
    end)

    it("lets no command wait then, not even those that need none", function()
        local left
        for i = 1, 3 do left = c:running(i) and i or left end
        for _, definition in ipairs(c:must(left, "commands")) do
            if definition.kind == "node" and not OTHER[definition.name] then
                local _, why = at_once(left, words_of(definition.example))
                assert.is_true(why == nil or why:find("^%u+ .") ~= nil, why)
            end
        end
    end)

    it("serves again by itself when one comes back, and takes the next change", function()
        local left
        for i = 1, 3 do left = c:running(i) and i or left end
        local a, b = others(left)
        c:start(a)
        process.wait_for("it books again", 30, function() return c:json(left, "book", "1", "eve", "A9") end)
        local reply, why = members.ask(c, left, "remove-node", c.nodes[a].address)
        assert.is_nil(reply) -- the third one is still down: two voters, one of them reachable
        assert.truthy(why:find("^CONFLICT .*stand still"), why)
        members.must(c, left, "remove-node", c.nodes[b].address)
        members.wait_voters(c, a, { left, a })
        c:start(b)
        process.wait_for("it learns that it was removed", 30, function()
            local status = c:json(b, "status")
            return status and status.role == "removed"
        end)
        members.must(c, b % 3 + 1, "add-node", c.nodes[b].address)
        members.wait_voters(c, b, { 1, 2, 3 })
    end)

    it("comes up whatever the order in which its nodes are started", function()
        local n = 0
        for _, order in ipairs { { 1, 2, 3 }, { 1, 3, 2 }, { 2, 1, 3 }, { 2, 3, 1 }, { 3, 1, 2 }, { 3, 2, 1 } } do
            c:must(1, "book", "1", "ann", "A" .. 10 + n)
            n = n + 1
            for i = 1, 3 do c:kill(i) end
            for k, i in ipairs(order) do
                c:start(i)
                if k == 1 then
                    process.wait_for("it answers", 20, function() return c:json(i, "status") end)
                    local reply, why = members.ask(c, i, "book", "1", "ann", "A20")
                    assert.is_nil(reply)
                    assert.truthy(why:find("^NOQUORUM "), why)
                end
            end
            c:ready()
            local taken = c:must(order[1], "seats", "1", "--linearizable").taken
            for i = 0, n - 1 do assert.equal("booked", taken["A" .. 10 + i]) end
        end
    end)

    it("answers no linearizable read from the past when a leader wakes up", function()
        local old = c:leader()
        local a, b = others(old)
        local client = assert(c:connect(old, 30))
        assert(client:call("event", "1", "--linearizable"))
        c:pause(old)
        -- Asked while it sleeps: it reads this the moment it wakes up.
        client:send("seats", "1", "--linearizable")
        process.wait_for("the others go on", 30, function()
            return c:json(a, "book", "1", "new", "A30", "--request", "wake-1") or nil
        end)
        local until_s = process.now() + 10
        local n = 31
        while process.now() < until_s do
            process.wait_for("a booking", 20, function()
                return c:json(b, "book", "1", "new", "A" .. n, "--request", "wake-" .. n) or nil
            end)
            n = n + 1
            process.poll(1, function() return false end)
        end
        c:resume(old)
        local reply, why = client:receive(30)
        if reply then
            local taken = require "cjson".decode(reply).taken
            for k = 30, n - 1 do
                assert.equal("booked", taken["A" .. k], "a read from the past: A" .. k .. " is missing")
            end
        else
            assert.truthy(tostring(why):find("^%u+ "), why)
        end
        client:close()
        c:ready()
    end)
end)
