-- The peer port of a live node: strangers, hostile members, other clusters and secrets, IPv6 and names.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local socket = require "socket"
local json = require "cjson"

local MAGIC = "\0USHER1\n"

local function seat(n) return ("%s%d"):format(string.char(65 + n // 50), n % 50 + 1) end

local function chart()
    local rows = {}
    for i = 1, 20 do rows[i] = ('{"row":"%s","seats":50}'):format(string.char(64 + i)) end
    return "[" .. table.concat(rows, ",") .. "]"
end

describe("hostile peers", function()
    local c, next_seat = nil, 0
    setup(function()
        c = cluster.new()
        c:must(1, "add-chart", "hall", chart())
        c:must(1, "add-event", "1", "hall")
    end)
    teardown(function() c:close() end)

    local function book(i)
        next_seat = next_seat + 1
        return c:must(i, "book", "1", "ann", seat(next_seat - 1))
    end

    --- The status of node i, once all that run have applied the same.
    local function status_of(i)
        return process.wait_for("all have applied the same", 60, function()
            local mine = c:must(i, "status")
            for k = 1, 3 do
                if c:running(k) and c:must(k, "status").applied ~= mine.applied then return nil end
            end
            return c:must(i, "status").applied == mine.applied and mine
        end)
    end

    --- Term, state and life of node i are as before, and it serves.
    local function unharmed(i, before)
        assert.is_true(c:running(i), c:logs())
        local now = c:must(i, "status")
        assert.equal(before.term, now.term)
        assert.equal(before.digest, now.digest)
        assert.equal(before.applied, now.applied)
        book(i)
    end

    it("come to nothing as strangers: any bytes, in any pieces", function()
        local hello = MAGIC .. "\1\1"
        local inputs = {
            MAGIC, MAGIC:rep(1000), MAGIC .. ("\255"):rep(5000), MAGIC .. ("\0"):rep(5000),
            hello .. "\0\0", hello .. "\255\255" .. ("a"):rep(70000), hello .. "\57\0" .. ("\0"):rep(57),
            MAGIC .. "\2\1\0\0", MAGIC .. "\1\2\0\0", MAGIC .. "\1\3\64\0" .. ("x"):rep(64), MAGIC .. "\1\4\5\0\3oops",
            "\0USHER2\n" .. ("x"):rep(100), MAGIC .. "GET / HTTP/1.1\r\n\r\n", MAGIC .. "*1\r\n$4\r\nPING\r\n",
            -- a whole greeting with a member's address, and nothing behind it or nonsense
            hello .. "\76\0" .. ("n"):rep(32) .. ("\1"):rep(8) .. ("\2"):rep(8) .. ("\0"):rep(8) .. "\19" ..
                ("localhost:6000xxxxx"),
            hello .. "\76\0" .. ("n"):rep(32) .. ("\1"):rep(8) .. ("\2"):rep(8) .. ("\0"):rep(8) .. "\19" ..
                ("localhost:6000xxxxx") .. ("\1\3\200\0" .. ("p"):rep(200)),
            -- and what RESP must survive, where it may be sent without magic
            "*-1\r\n", "*2147483648\r\n", "*9999999\r\n", "*1\r\n$-2\r\n", "*1\r\n$536870913\r\n", "*1\r\n$4\r\nPINGxx",
            ("x"):rep(65 * 1024), "*2\r\n$4\r\nECHO\r\n$3\r\na\0b\r\n", "*1\r\n$3\r\na\r\n\r\n",
        }
        for i = 1, 3 do
            local before = status_of(i)
            local open = {}
            for k, bytes in ipairs(inputs) do
                for _, size in ipairs { #bytes, k % 7 + 1 } do
                    local tcp = assert(socket.connect("127.0.0.1", c.nodes[i].port))
                    tcp:settimeout(2)
                    for at = 1, math.min(#bytes, size == #bytes and #bytes or 300), size do
                        if not tcp:send(bytes:sub(at, at + size - 1)) then break end
                    end
                    open[#open + 1] = tcp -- left open: it must not be able to hold anybody up
                end
            end
            unharmed(i, before)
            for _, tcp in ipairs(open) do tcp:close() end
            unharmed(i, status_of(i))
        end
    end)

    it("come to nothing with a member's identity and the secret", function()
        local victim = c:follower()
        assert.equal(0, c:stop(victim))
        local dir = ("%s/default/%s"):format(c.dir, c.nodes[victim].address)
        local _, text = process.run { cluster.usher, "check", dir, "-w", "json" }
        local id = json.decode(text)
        local program = cluster.usher:gsub("[^/]*$", "hostile_peer")
        for i = 1, 3 do
            if i ~= victim then
                book(i)
                local before = status_of(i)
                local status, out, err = process.run({ program, c.nodes[i].address, id.node, id.address, id.cluster },
                    { seconds = 90 })
                assert.equal(0, status, out .. err)
                assert.is_true(tonumber(out:match("^%d+")) > 500)
                assert.equal("", err)
                unharmed(i, before)
                local words = c.nodes[i].process:output()
                assert.is_nil(words:find("10.255.255.1", 1, true))
                -- One line in ten seconds says so, not one for each frame.
                assert.matches("sent a message that was refused: ", words)
                assert.is_true(select(2, words:gsub("sent a message", "")) < 20)
            end
        end
        c:start(victim)
        c:ready()
        book(victim)
    end)
end)

describe("links that cannot be", function()
    local list = {}
    local function node(config, id, data)
        local dir = cluster.directory()
        cluster.write(dir .. "/config.lua", config)
        local p = process.start({ cluster.usher, "node", "--id", tostring(id), "--file", dir .. "/config.lua",
            "--data", data or dir .. "/data", "--no-console" }, { out = dir .. "/log" })
        p.dir = dir
        list[#list + 1] = p
        return p
    end
    after_each(function()
        for _, p in ipairs(list) do
            p:kill()
            p:wait(10)
            os.execute("rm -rf '" .. p.dir .. "'")
        end
        list = {}
    end)

    local function says(p, pattern)
        process.wait_for("the log says " .. pattern, 120, function() return p:output():match(pattern) end)
    end
    local function count(p, pattern) return select(2, p:output():gsub(pattern, "")) end

    it("are told once on both sides when the secrets differ", function()
        local a, b = cluster.free_port(), cluster.free_port()
        local text = 'return { default = { nodes = { "localhost:%d", "localhost:%d" }, secret = "%s" } }'
        local one, two = node(text:format(a, b, "red"), 0), node(text:format(a, b, "blue"), 1)
        for _, p in ipairs { one, two } do says(p, "the two nodes have different secrets") end
        -- They try again several times a second; the log does not.
        local deadline = process.now() + 2
        process.poll(3, function() return process.now() > deadline end)
        for _, p in ipairs { one, two } do
            assert.is_true(count(p, "different secrets") <= 4, p:output())
            assert.matches("give both profiles the same secret", p:output())
        end
    end)

    it("are told when a data directory was copied", function()
        local a, b = cluster.free_port(), cluster.free_port()
        local text = 'return { default = { "localhost:%d", "localhost:%d" } }'
        local first = node(text:format(a, b), 0)
        local second = node(text:format(a, b), 1)
        says(first, "leader")
        says(second, "leader")
        for _, p in ipairs { first, second } do
            p:terminate()
            p:wait(60)
        end
        -- The first one's identity at the second one's address.
        os.execute(("rm -rf '%s/data' && cp -r '%s/data' '%s/data'"):format(second.dir, first.dir, second.dir))
        local third = node(text:format(a, b), 1, second.dir .. "/data")
        local status = third:wait(60)
        assert.equal(1, status)
        assert.matches(("belongs to the node localhost:%d, not to localhost:%d"):format(a, b), third:output())
    end)

    it("are told once on both sides when two clusters meet", function()
        local a, b = cluster.free_port(), cluster.free_port()
        -- A cluster of its own at the second address ...
        local stranger = node(('return { default = { "localhost:%d" } }'):format(b), 0)
        says(stranger, "leader")
        stranger:terminate()
        stranger:wait(60)
        -- ... and one of two nodes at both; then the stranger takes the second one's place.
        local text = ('return { default = { "localhost:%d", "localhost:%d" } }'):format(a, b)
        local first, second = node(text, 0), node(text, 1)
        says(first, "leader is")
        says(second, "leader is")
        second:terminate()
        second:wait(60)
        local again = node(text, 1, stranger.dir .. "/data")
        says(first, "belongs to another cluster than")
        says(again, "belongs to another cluster than")
        -- They try again several times a second; the log does not.
        local deadline = process.now() + 2
        process.poll(3, function() return process.now() > deadline end)
        for _, p in ipairs { first, again } do
            assert.is_true(count(p, "belongs to another cluster") <= 2, p:output())
        end
    end)

    it("work over IPv6 and host names", function()
        local probe = socket.tcp6()
        local six = probe and probe:bind("::1", 0)
        if probe then probe:close() end
        local a, b, d = cluster.free_port(), cluster.free_port(), cluster.free_port()
        local text = ('return { default = { "%s:%d", "127.0.0.1:%d", "localhost:%d" } }'):format(
            six and "[::1]" or "localhost", a, b, d)
        local nodes = { node(text, 0), node(text, 1), node(text, 2) }
        says(nodes[1], "leader")
        local status, out, err
        process.wait_for("a node of each kind answers", 120, function()
            for _, at in ipairs { (six and "[::1]:" or "localhost:") .. a, "127.0.0.1:" .. b, "localhost:" .. d } do
                status, out, err = process.run({ cluster.usher, "nodes", "-w", "json", "--at", at }, { seconds = 60 })
                if status ~= 0 then return nil, out .. err end
            end
            return true
        end)
        local n = 0
        for _, member in ipairs(json.decode(out)) do n = n + (member.reachable and 1 or 0) end
        assert.equal(3, n)
    end)
end)
