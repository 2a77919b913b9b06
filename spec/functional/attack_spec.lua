--- docs/engine.md's table of Lua attacks against a live cluster: a policy whose command tries them
--- all. Each is answered with one error within a bound, memory stays bounded, the node and its other
--- clients go on.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local socket = require "socket"

-- Name, what it does, what the answer says.
local ATTACKS = {
    { "pcall-loop", "while true do pcall(function() while true do end end) end", "INTERNAL" },
    { "loop", "while true do end", "INTERNAL" },
    { "close", "local x <close> = setmetatable({}, { __close = function() while true do end end })", "INTERNAL" },
    { "index", "return setmetatable({}, { __index = function() while true do end end }).x", "INTERNAL" },
    { "sort", "table.sort({ 3, 2, 1 }, function() while true do end end)", "INTERNAL" },
    { "gsub", "return (('x'):gsub('.', function() while true do end end))", "INTERNAL" },
    { "xpcall", "xpcall(error, function() while true do end end)", "INTERNAL" },
    { "coroutine", "while true do coroutine.wrap(function() end)() end", "INTERNAL" },
    { "gc", "setmetatable({}, { __gc = function() while true do end end })", "INTERNAL" },
    { "backtrack", "return (('a'):rep(100000)):find(('.-'):rep(60) .. 'b')", "INTERNAL" },
    { "move", "table.move({}, 1, 2000000000, 1)", "INTERNAL" },
    { "rep", "return ('x'):rep(1 << 40)", "INTERNAL" },
    { "format", "return ('%999999d'):format(1)", "INTERNAL" },
    { "strings", "getmetatable('').__index = function() return 1 end", "INTERNAL" },
    { "globals", "pairs = nil", "INTERNAL" },
    { "load", "return load('return 1')()", "INTERNAL" },
    { "files", "return io.open('/etc/passwd')", "INTERNAL" },
    { "doubling", "local s = 'x' while true do s = s .. s end", "INTERNAL" },
    { "tables", "local t = {} for i = 1, 1e9 do t[i] = { i } end", "INTERNAL" },
    { "error-object", "error(setmetatable({}, { __tostring = function() while true do end end }))", "DENIED" },
    { "recursion", "local function f() return 1 + f() end return f()", "INTERNAL" },
    { "c-stack", "local s = 'x' for i = 1, 300 do s = '(' .. s .. ')' end return s:find(s)", "" },
    { "rule", "return tx:take { customer = 'mallory', seats = { req.event:seat('A1') } }", "INTERNAL" },
    { "store", "while true do tx:set('k' .. tx:random(1, 1000000), 'v') end", "INTERNAL" },
}

local function policy()
    local parts = {}
    for _, attack in ipairs(ATTACKS) do
        parts[#parts + 1] = ("[%q] = function(tx, req) %s end,"):format(attack[1], attack[2])
    end
    return ([[
local attacks = {
    %s
}
return policy {
    name = "attacks",
    rules = { rule { name = "loops", check = function(_, ask)
        if ask.customer == "mallory" then while true do end end
        return true
    end } },
    commands = { command { name = "attack", kind = "transaction", access = "client", group = "orders",
        summary = "Try to hurt the node", example = "attack loop 1",
        args = { { "kind", "string" }, { "event", "event" } },
        run = function(tx, req) return attacks[req.kind](tx, req) or {} end } },
}
]]):format(table.concat(parts, "\n    "))
end

-- Resident memory of a process, in MiB.
local function resident(pid)
    local file = io.open(("/proc/%d/status"):format(pid))
    local text = file and file:read("a") or ""
    if file then file:close() end
    return (tonumber(text:match("VmRSS:%s*(%d+)")) or 0) / 1024
end

describe("attacks by a policy's Lua", function()
    local c
    setup(function()
        -- bounded is what counts here; a loaded machine may stretch a quarter of a second
        c = cluster.new { start = false, profile = "election_timeout_ms = 3000" }
        cluster.write(c.dir .. "/attacks.lua", policy())
        local file = assert(io.open(c.config))
        local text = file:read("a"):gsub("data =", ('policy = %q, data ='):format(c.dir .. "/attacks.lua"), 1)
        file:close()
        cluster.write(c.config, text)
        for i = 1, 3 do c:start(i) end
        c:ready()
        c:must(1, "add-event", "1", '[{"row":"A","seats":200}]')
    end)
    teardown(function() c:close() end)

    local seat = 0
    local function book_elsewhere()
        seat = seat + 1
        local order = c:must(seat % 3 + 1, "book", "1", "bob" .. seat, "A" .. (seat + 1))
        assert.equal("booked", order.status)
    end

    for _, attack in ipairs(ATTACKS) do
        it(("'%s' ends with one error, and others are served"):format(attack[1]), function()
            local start = socket.gettime()
            local answer, why = c:call(1, "attack", attack[1], "1")
            local took = socket.gettime() - start
            if attack[3] ~= "" then
                assert.is_nil(answer)
                assert.truthy(why:find("^" .. attack[3]), why)
            end
            assert.truthy(took < 20, ("%.1f s"):format(took))
            book_elsewhere()
        end)
    end

    it("leave the memory of every node bounded, and all nodes agreeing", function()
        for i = 1, 3 do
            local mib = resident(c.nodes[i].process.pid)
            assert.truthy(mib > 0 and mib < 1200, ("node %d: %.0f MiB"):format(i, mib))
        end
        process.wait_for("one digest", 10, function()
            local one = c:must(1, "status")
            for i = 2, 3 do
                local other = c:must(i, "status")
                if other.applied ~= one.applied or other.digest ~= one.digest then return false end
            end
            return true
        end)
        assert.is_nil(c:must(1, "seats", "1").taken.A1) -- the looping rule let nothing through
    end)
end)
