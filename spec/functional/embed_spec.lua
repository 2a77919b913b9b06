--- The C API: a program with a node inside (tests/embed/example.c), hooks as callbacks, commands
--- as calls, alone and in a cluster; and what `cmake --install` leaves for such programs.
local cluster = require "spec.support.cluster"
local files = require "spec.support.files"
local process = require "spec.support.process"
local json = require "cjson"
local uv = require "luv"

local build = assert(uv.fs_realpath(cluster.usher)):match("^(.*)/")
local example = build .. "/usher-embed-example"

--- The example as a process that reads its input from a pipe we hold.
local function start(config, words, log, program)
    local pipe = os.tmpname()
    os.remove(pipe)
    assert(os.execute("mkfifo " .. pipe))
    local argv = { program or example, config, table.unpack(words or {}) }
    -- Opened for reading and writing: neither side waits for the other. No child inherits it.
    local self = { pipe = pipe, input = assert(uv.fs_open(pipe, "r+", 0)) }
    self.process = process.start({ "/bin/sh", "-c", 'exec "$@" <' .. pipe, "sh", table.unpack(argv) }, { out = log })
    function self.line(text)
        assert(uv.fs_write(self.input, text .. "\n"))
    end
    --- The end of its input is the end of the program.
    function self.finish()
        uv.fs_close(self.input)
        self.input = nil
        return self.process:wait(20)
    end
    function self.wait(what, seconds)
        return process.wait_for(what, seconds or 20, function()
            return self.process:output():match(what), self.process:output():sub(-1500)
        end)
    end
    function self.close()
        if self.input then uv.fs_close(self.input) end
        self.input = nil
        os.remove(self.pipe)
    end
    return self
end

--- All payloads of a hook that were printed.
local function payloads(output, hook)
    local list = {}
    for text in output:gmatch("%f[^\n\0]" .. hook .. " (%b{})\n") do list[#list + 1] = json.decode(text) end
    return list
end

describe("a node inside another program", function()
    for _, mode in ipairs { "", "--caller" } do
        local name = mode == "" and "on a thread of its own" or "driven by the program's loop"
        it("runs " .. name .. ", calls back for every hook and answers calls", function()
            local c = cluster.new { n = 1, start = false }
            local log = c.dir .. "/example.log"
            local words = mode == "" and { "default", "0" } or { "default", "0", mode }
            local program = start(c.config, words, log)
            program.wait("leader (%b{})")
            program.line('add-event 1 [{"row":"A","seats":10}]')
            program.wait("answer (%b{})")
            program.line("book 1 ann A1 A2")
            program.line("book 1 bob A1")
            program.wait("error TAKEN seat A1 of event 1 is booked")
            program.line("no-such-command")
            program.wait("error NOTFOUND unknown command")
            program.line("snapshot")
            program.wait("\nsnapshot (%b{})")
            -- It is a node like any other: clients from outside are served, and seen by the hook.
            assert.are.equal("booked", c:must(1, "book", "1", "dora", "A9").status)
            program.wait('"seat":"A9"')
            program.process:terminate()
            program.process:wait(15)
            program.close()
            local output = program.process:output()
            local commits = payloads(output, "commit")
            assert.are.equal("book", commits[2].transactions[1].command)
            assert.are.same({ "A1", "A2" }, { commits[2].changes[1].seat, commits[2].changes[2].seat })
            assert.are.equal("ann", commits[2].changes[1].customer)
            assert.are.equal("A9", commits[3].changes[1].seat)
            assert.is_true(commits[3].index > commits[2].index)
            assert.are.equal(c.nodes[1].address, payloads(output, "start")[1].address)
            assert.is_true(payloads(output, "leader")[1].self)
            c:close()
        end)

        it("stops in order " .. name .. " and starts again with its state, telling no commit twice", function()
            local c = cluster.new { n = 1, start = false }
            local words = mode == "" and { "default", "0" } or { "default", "0", mode }
            for round = 1, 2 do
                local log = c.dir .. "/example-" .. round .. ".log"
                local program = start(c.config, words, log)
                program.wait("leader (%b{})")
                if round == 1 then program.line('add-event 1 [{"row":"A","seats":10}]') end
                program.line("book 1 u" .. round .. " A" .. round)
                program.wait('answer {"order"')
                program.line("seats 1")
                program.wait('answer {"event":"1","counts"')
                assert.are.equal(c.nodes[1].address, c:must(1, "status").address)
                assert.are.equal(0, program.finish(), program.process:output():sub(-1500))
                program.close()
                local output = program.process:output()
                assert.truthy(output:find("\nstop {}\n", 1, true), output:sub(-500))
                assert.truthy(output:find("\nstopped\n", 1, true))
                assert.is_nil(output:find("LeakSanitizer", 1, true), output:sub(-2000))
                assert.is_nil(output:find("did not come to an end", 1, true))
                assert.are.equal(round == 1 and 2 or 1, #payloads(output, "commit"))
                if round == 2 then
                    assert.truthy(output:find('"A1":"booked","A2":"booked"', 1, true), output:sub(-1500))
                end
            end
            c:close()
        end)
    end

    it("is a member like the others, hears who leads and takes over", function()
        local c = cluster.new { start = false }
        c:start(1)
        c:start(2)
        local program = start(c.config, { "default", "2" }, c.dir .. "/example.log")
        program.wait("leader (%b{})", 30)
        program.line('add-event 1 [{"row":"A","seats":10}]')
        program.wait("answer (%b{})")
        assert.truthy(c:call(1, "book", "1", "ann", "A1"))
        program.wait('"seat":"A1"')
        -- Whoever leads, the call through the embedded node goes on after a leader's death.
        local leader = payloads(program.process:output(), "leader")
        local last = leader[#leader].leader
        local victim = last == c.nodes[2].address and 2 or 1
        c:kill(victim)
        program.line("book 1 bob A2")
        program.wait('"customer":"bob"', 30)
        c:start(victim)
        process.wait_for("it is back", 20, function() return c:call(victim, "events", "--linearizable") end)
        program.line("remove-node " .. c.nodes[victim].address)
        program.wait("\nmember (%b{})", 30)
        local members = payloads(program.process:output(), "member")
        assert.are.equal(c.nodes[victim].address, members[#members].address)
        assert.are.equal("removed", members[#members].change)
        assert.are.equal(2, members[#members].voters)
        assert.are.equal(0, program.finish(), program.process:output():sub(-1500))
        program.close()
        c:close()
    end)

    it("hears of the policy, and of a state that came as a snapshot", function()
        local policy = cluster.directory()
        cluster.write(policy .. "/policy.lua", 'return policy { name = "plain", hold_ttl = "1h", hold_max = "2h" }\n')
        local c = cluster.new { start = false,
            profile = ("policy = %q, snapshot_bytes = 65536"):format(policy .. "/policy.lua") }
        c:start(1)
        c:start(2)
        local program = start(c.config, { "default", "2" }, c.dir .. "/example-1.log")
        program.wait('\npolicy (%b{})', 30)
        assert.are.equal(1, payloads(program.process:output(), "policy")[1].version)
        assert.are.equal(0, program.finish())
        program.close()
        c:must(1, "add-event", "1", '[{"row":"A","seats":400}]')
        local client = assert(c:connect(1))
        for k = 1, 400 do assert(client:call("book", "1", "u" .. k, "A" .. k)) end
        client:close()
        c:must(1, "snapshot")
        c:must(2, "snapshot")
        program = start(c.config, { "default", "2" }, c.dir .. "/example-2.log")
        program.wait('\nrestore (%b{})', 30)
        local restored = payloads(program.process:output(), "restore")[1]
        assert.is_true(restored.index >= 400)
        program.line("seats 1")
        program.wait('"booked":400')
        for _, commit in ipairs(payloads(program.process:output(), "commit")) do
            assert.is_true(commit.index > restored.index, "a commit that the snapshot holds was told after it")
        end
        assert.are.equal(0, program.finish())
        program.close()
        c:close()
        os.execute("rm -rf '" .. policy .. "'")
    end)

    it("says in one line why it cannot start", function()
        local c = cluster.new { n = 1 }
        local status, _, err = process.run({ example, c.config, "default", "0" })
        assert.are.equal(1, status)
        assert.truthy(err:find("^[^\n]*CONFLICT port %d+ of localhost is in use") or
            err:find("\nCONFLICT port %d+ of localhost is in use"), err)
        status, _, err = process.run({ example, c.config, "default", "7" })
        assert.are.equal(1, status)
        assert.truthy(err:find("BADARG id 7: profile default", 1, true), err)
        status, _, err = process.run({ example, c.config, "nosuch" })
        assert.are.equal(1, status)
        assert.truthy(err:find("nosuch", 1, true), err)
        c:close()
    end)

    it("is built from what the installation leaves, with pkg-config", function()
        local dir = cluster.directory()
        local prefix = uv.fs_realpath(dir) .. "/prefix"
        local status, out, err = process.run({ "cmake", "--install", build, "--prefix", prefix }, { seconds = 300 })
        assert.are.equal(0, status, out .. err)
        local flags = build:find("asan", 1, true) and "-fsanitize=address,undefined" or ""
        status, out, err = process.run({ "/bin/sh", "-c", ([[
            export PKG_CONFIG_PATH="$(dirname "$(find '%s' -name usher.pc)")"
            cc -Wall -Werror %s -o '%s/example' tests/embed/example.c $(pkg-config --cflags --libs usher)
        ]]):format(prefix, flags, dir) }, { seconds = 120 })
        assert.are.equal(0, status, out .. err)
        local c = cluster.new { n = 1, start = false }
        local program = start(c.config, {}, c.dir .. "/example.log", dir .. "/example")
        program.wait("leader (%b{})")
        program.line('add-event 1 [{"row":"A","seats":2}]')
        program.line("book 1 ann A1")
        program.wait('"status":"booked"')
        assert.are.equal(0, program.finish())
        program.close()
        c:close()
        os.execute("rm -rf '" .. dir .. "'")
    end)

    it("is written as the manual shows it", function()
        local dir = cluster.directory()
        local text = files.read("docs/embed.md"):match("```c\n(.-)```")
        cluster.write(dir .. "/manual.c", text)
        local status, out, err = process.run { "/usr/bin/cc", "-std=c11", "-Wall", "-Werror", "-fsyntax-only",
            "-Iinclude", dir .. "/manual.c" }
        assert.are.equal(0, status, out .. err)
        os.execute("rm -rf '" .. dir .. "'")
    end)
end)
