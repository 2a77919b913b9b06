--- `./dev bench`: a release cluster of three nodes on this machine's disk, loaded by `usher bench`,
--- beside bare libraft and etcd doing the same job in the same run. Prints JSON lines as they come and
--- ratios at the end, each of two figures of one round. Options: --seconds N (per figure, default 4),
--- --rounds N (default 3, the median counts), --quick (one short round, no etcd), --no-etcd.
package.path = "./?.lua;" .. package.path
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local json = require "cjson"

local options = { seconds = 4, rounds = 3, etcd = true }
do
    local i = 1
    while arg[i] do
        if arg[i] == "--quick" then
            options.seconds, options.rounds, options.etcd = 2, 1, false
        elseif arg[i] == "--no-etcd" then
            options.etcd = false
        elseif (arg[i] == "--seconds" or arg[i] == "--rounds") and tonumber(arg[i + 1]) then
            options[arg[i]:sub(3)] = tonumber(arg[i + 1])
            i = i + 1
        else
            io.stderr:write("usage: ./dev bench [--seconds N] [--rounds N] [--quick] [--no-etcd]\n")
            os.exit(2)
        end
        i = i + 1
    end
end

cluster.usher = "build/release/usher"
local disk = cluster.directory()

local function note(...) io.stderr:write(("== " .. string.format(...)) .. "\n") end

local samples, order = {}, {}
local function record(name, value)
    if not samples[name] then
        samples[name] = {}
        order[#order + 1] = name
    end
    table.insert(samples[name], value)
end
local function middle(list)
    table.sort(list)
    return list[(#list + 1) // 2]
end
local function median(name) return samples[name] and middle { table.unpack(samples[name]) } end

--- Runs a program that prints JSON lines; calls `each` with every line.
local function lines_of(argv, each, allowed)
    local status, out, err = process.run(argv, { seconds = 300 })
    if status == allowed then
        io.stderr:write(err)
        return false
    end
    if status ~= 0 then error(table.concat(argv, " ") .. ":\n" .. out .. err) end
    for line in out:gmatch("[^\n]+") do
        if line:sub(1, 1) == "{" then
            print(line)
            each(json.decode(line))
        end
    end
    return true
end

--- CPU seconds that the processes of a cluster have used.
local function cpu_of(c)
    local total = 0
    for _, node in ipairs(c.nodes) do
        local file = io.open(("/proc/%d/stat"):format(node.process.pid))
        if file then
            local fields = {}
            for word in file:read("a"):gsub("^.*%) ", ""):gmatch("%S+") do fields[#fields + 1] = word end
            total = total + (tonumber(fields[12]) + tonumber(fields[13])) / 100
            file:close()
        end
    end
    return total
end

local CASES = {
    { "1 client", "book", 1, 1 },
    { "64 clients", "book", 64, 1 },
    { "256 clients", "book", 256, 1 },
    { "8 x 64 pipelined", "book", 8, 64 },
    { "64 clients, hot event", "hot", 64, 1 },
}

local function load_cluster(c, case, suffix)
    local name, mode, clients, pipeline = table.unpack(case)
    local before = cpu_of(c)
    name = name .. (suffix or "")
    lines_of({ cluster.usher, "bench", "--at", c:addresses(), "--mode", mode, "--clients", tostring(clients),
        "--pipeline", tostring(pipeline), "--seconds", tostring(options.seconds), "--requests", "3000000",
        "--json", "--keep" }, function(r)
        record(name .. " /s", r.per_second)
        record(name .. " p50 us", r.p50_us)
        record(name .. " p99 us", r.p99_us)
        record(name .. " cpu us", (cpu_of(c) - before) * 1e6 / r.requests)
    end)
end

--- Rehearses 100,000 of the recorded bookings until the function that it returns is called.
local function rehearse(c)
    local dir = c.dir .. "/candidate"
    os.execute("mkdir -p '" .. dir .. "'")
    cluster.write(dir .. "/policy.lua", [[local rules = require "usher.rules"
        return policy { name = "candidate", rules = { rules.max_per_customer(4), rules.no_orphans() } }]])
    local rehearsal = process.start({ cluster.usher, "--at", c:addresses(), "policy", "rehearse", dir, "--last",
        "100000" }, { out = dir .. "/report" })
    return function()
        assert(not rehearsal:ended(), "the rehearsal ended before the load did (with fewer --seconds it does not):\n"
            .. rehearsal:output())
        rehearsal:kill()
        rehearsal:wait(10)
    end
end

--- What a rehearsal costs those who book: beside the same load right before, on the same store.
local function rehearsal_round(c)
    for i = 1, 2 do
        load_cluster(c, CASES[i], ", full store")
        local stop = rehearse(c)
        load_cluster(c, CASES[i], ", full store, rehearsing")
        stop()
    end
end

local function usher_round()
    local c = cluster.new()
    for _, case in ipairs(CASES) do load_cluster(c, case) end
    rehearsal_round(c)
    c:close()
end

local function raft_round()
    lines_of({ "build/release/bench_raft_uv", "--dir", disk, "--seconds", tostring(options.seconds) }, function(r)
        record(("bare libraft, %d in flight /s"):format(r.in_flight), r.commits_per_s)
        record(("bare libraft, %d in flight p50 us"):format(r.in_flight), r.p50_us)
        record(("bare libraft, %d in flight p99 us"):format(r.in_flight), r.p99_us)
    end)
end

--- The same without RESP and Lua: our journal, transport and cluster against the library's.
local function cluster_round()
    local dir = cluster.directory()
    lines_of({ "build/release/bench_cluster", dir, "256", tostring(options.seconds) }, function(r)
        record(("our cluster, %d in flight /s"):format(r.in_flight), r.commits_per_s)
        record(("our cluster, %d in flight p50 us"):format(r.in_flight), r.p50_us)
        record(("our cluster, %d in flight p99 us"):format(r.in_flight), r.p99_us)
    end)
    os.execute("rm -rf '" .. dir .. "'")
end

local function etcd_round()
    return lines_of({ "tests/bench/bench_etcd.sh", "build/release/bench_etcd", "--dir", disk, "--seconds",
        tostring(options.seconds) }, function(r)
        record(("etcd, %d clients /s"):format(r.clients), r.bookings_per_s)
        record(("etcd, %d clients p50 us"):format(r.clients), r.p50_us)
    end, 3)
end

local function machine()
    local function first(path, pattern)
        local file = io.open(path)
        local text = file and file:read("a") or ""
        if file then file:close() end
        return text:match(pattern) or "?"
    end
    local _, cores = process.run { "nproc" }
    local _, where = process.run { "df", "--output=source,fstype", disk }
    print(("machine: %s, %s cores, Linux %s, data on %s"):format(
        first("/proc/cpuinfo", "model name%s*:%s*([^\n]+)"), (cores:gsub("%s", "")),
        first("/proc/version", "version (%S+)"), (where:match("\n(.-)\n") or "?"):gsub("%s+", " ")))
    local _, kind = process.run { "stat", "-f", "-c", "%T", disk }
    assert(not kind:find("tmpfs"), "the benchmark needs a real disk, and " .. disk .. " is on tmpfs")
end

machine()
for round = 1, options.rounds do
    note("round %d of %d", round, options.rounds)
    local peers = { { "bare libraft", raft_round }, { "our cluster alone", cluster_round } }
    for i = 1, 2 do -- by turns, who comes first
        local peer = peers[(round + i) % 2 + 1]
        note("round %d: %s", round, peer[1])
        peer[2]()
    end
    if options.etcd then
        note("round %d: etcd", round)
        options.etcd = etcd_round()
    end
    note("round %d: usher", round)
    usher_round()
end
note("store")
lines_of({ "build/release/bench_store" }, function() end)
note("policy")
lines_of({ "build/release/bench_policy" }, function(r) record("policy: " .. r.figure .. " us", r.us_each) end)

print(("\nmedians of %d round(s), %s s each"):format(options.rounds, options.seconds))
for _, name in ipairs(order) do print(("%-44s %12.1f"):format(name, median(name))) end

--- Of two figures of the same round, minutes apart: the disk of another round is another disk.
local function ratio(text, a, b)
    local list = {}
    for i, x in ipairs(samples[a] or {}) do
        local y = (samples[b] or {})[i]
        if y and y > 0 then list[#list + 1] = x / y end
    end
    if #list > 0 then
        local all = {}
        for i, r in ipairs(list) do all[i] = ("%.2f"):format(r) end
        print(("%-64s %8.2f   of %s"):format(text, middle(list), table.concat(all, " ")))
    end
end
print("\nratios within a round, the median")
ratio("one client, p50: usher / bare libraft commit (aim <= 1.5)", "1 client p50 us",
    "bare libraft, 1 in flight p50 us")
for _, n in ipairs { 1, 64, 256 } do
    ratio(("%d in flight: our cluster / bare libraft, commits (aim >= 1)"):format(n),
        ("our cluster, %d in flight /s"):format(n), ("bare libraft, %d in flight /s"):format(n))
    ratio(("%d in flight: our cluster / bare libraft, p99 (aim <= 1)"):format(n),
        ("our cluster, %d in flight p99 us"):format(n), ("bare libraft, %d in flight p99 us"):format(n))
end
ratio("64 clients: usher / etcd (aim >= 10)", "64 clients /s", "etcd, 64 clients /s")
ratio("one client: usher / etcd", "1 client /s", "etcd, 1 clients /s")
for _, clients in ipairs { "1 client", "64 clients" } do
    for _, what in ipairs { "p50", "p99" } do
        local name = clients .. ", full store"
        ratio(("%s, %s: while a policy is rehearsed / without (aim <= 1)"):format(clients, what),
            ("%s, rehearsing %s us"):format(name, what), ("%s %s us"):format(name, what))
    end
end
local pipelined = median("8 x 64 pipelined /s")
if pipelined then
    print(("%-64s %8.2f"):format("8 x 64 pipelined / 150,000 a second (aim >= 1)", pipelined / 150000))
end
os.execute("rm -rf '" .. disk .. "'")
