--- `usher bench`: a load generator that says what it did and leaves the cluster as it was.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local terminal = require "spec.support.terminal"
local json = require "cjson"
local uv = require "luv"

describe("usher bench", function()
    local c
    setup(function()
        c = cluster.new { profile = [[secret = "s", users = {
            boss = { password = "boss-pw", access = "admin" }, app = { password = "app-pw", access = "client" } }]] }
        c.user = { USHER_ADDR = c:addresses(), USHER_PASSWORD = "boss-pw" }
    end)
    teardown(function() c:close() end)

    local function bench(...)
        return process.run({ cluster.usher, "bench", "--user", "boss", ... }, { env = c.user, seconds = 60 })
    end
    local function events()
        local status, out, err = process.run({ cluster.usher, "events", "--user", "boss", "-w", "json",
            "--linearizable" }, { env = c.user })
        assert.equal(0, status, err)
        return json.decode(out)
    end

    it("books each seat once in every mode, and counts what it was told", function()
        for _, mode in ipairs { "book", "hold", "hot", "seats" } do
            local status, out, err = bench("--mode", mode, "--clients", "3", "--pipeline", "4", "--requests", "300",
                "--seconds", "20", "--json")
            assert.equal(0, status, err)
            local r = json.decode(out)
            assert.same({ mode, 3, 4, 300, 0 }, { r.mode, r.clients, r.pipeline, r.requests, r.failed })
            assert.equal(mode == "hot" and 290 or 0, r.refused)
            assert.is_true(0 < r.p50_us and r.p50_us <= r.p99_us and r.p99_us <= r.max_us)
            local n = 0
            for _, bar in ipairs(r.histogram_us) do n = n + bar[2] end
            assert.equal(300, n)
            assert.same({}, events())
        end
    end)

    it("stops after its seconds and prints a table with a histogram", function()
        local status, out, err = bench("--clients", "1", "--seconds", "1")
        assert.equal(0, status, err)
        assert.truthy(out:find("^book: %d+ requests in %d%.%d+ s through localhost:%d+, 1 client x 1 pipe"), out)
        assert.truthy(out:find("p50 %d+ us   p99 %d+ us"), out)
        assert.truthy(out:find("\nunder +%d+ us +%d+  #+\n"), out)
    end)

    it("leaves its events where it is told to", function()
        local status, _, err = bench("--requests", "20", "--clients", "2", "--keep")
        assert.equal(0, status, err)
        local list = events()
        assert.equal(1, #list)
        assert.same({ free = 19980, held = 0, booked = 20, blocked = 0 }, list[1].counts)
    end)

    it("shows on a terminal how it goes", function()
        local window = terminal.start({ uv.fs_realpath(cluster.usher), "bench", "--user", "boss", "--seconds", "3" },
            { dir = uv.fs_realpath(c.dir), width = 100, env = c.user })
        finally(function() window:close() end)
        window:wait("answers, ", 30)
        window:wait("under ", 30)
    end)

    it("says why it cannot: no password, no rights, nobody there, no such option", function()
        local status, _, err = process.run({ cluster.usher, "bench" }, { env = { USHER_ADDR = c:addresses() } })
        assert.equal(1, status)
        assert.truthy(err:find("^NOAUTH") or err:find("^NOPERM"), err)
        status, _, err = process.run({ cluster.usher, "bench", "--user", "app" },
            { env = { USHER_ADDR = c:addresses(), USHER_PASSWORD = "app-pw" } })
        assert.equal(1, status)
        assert.truthy(err:find("^NOPERM"), err)
        status, _, err = process.run { cluster.usher, "bench", "--at", "localhost:" .. cluster.free_port() }
        assert.equal(1, status)
        assert.truthy(err:find("^NOTREADY cannot reach"), err)
        for _, words in ipairs { { "--mode", "fast" }, { "--clients", "0" }, { "--seconds" }, { "--bogus" } } do
            status, _, err = bench(table.unpack(words))
            assert.equal(2, status)
            assert.truthy(err:find(words[1], 1, true), err)
        end
    end)
end)
