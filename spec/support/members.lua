--- Clusters whose membership changes: profiles that are edited, nodes beyond the founders, and
--- bookings that go on meanwhile.
local cluster = require "spec.support.cluster"
local process = require "spec.support.process"
local json = require "cjson"

local M = {}

--- Writes the profile with the addresses of the nodes given (1-based), and c.extra.
function M.profile(c, ids)
    local list = {}
    for k, i in ipairs(ids) do list[k] = ("%q"):format(c.nodes[i].address) end
    cluster.write(c.config, ("return { default = { nodes = { %s }, data = %q, %s } }\n"):format(
        table.concat(list, ", "), c.dir, c.extra or ""))
end

--- One more node of the profile, not started; returns its number.
function M.another(c)
    local port = cluster.free_port()
    c.n = c.n + 1
    c.nodes[c.n] = { port = port, address = "localhost:" .. port, id = c.n - 1 }
    local ids = {}
    for i = 1, c.n do ids[i] = i end
    M.profile(c, ids)
    return c.n
end

--- One command to node i, with patience: the answer, or nil and the error's text.
function M.ask(c, i, ...)
    local client, why = c:connect(i, 90)
    if not client then return nil, why end
    local reply, err = client:call(...)
    client:close()
    if not reply then return nil, err end
    return json.decode(reply)
end

--- As ask(), but a refusal is a failure with the nodes' logs.
function M.must(c, i, ...)
    local reply, err = M.ask(c, i, ...)
    if reply == nil then error(table.concat({ ... }, " ") .. ": " .. tostring(err) .. "\n" .. c:logs(), 2) end
    return reply
end

--- Addresses of the voters as node i sees them, sorted; and how many learners there are.
function M.voters(c, i)
    local list, learners = {}, 0
    for _, member in ipairs(c:must(i, "nodes")) do
        if member.role == "voter" then list[#list + 1] = member.address else learners = learners + 1 end
    end
    table.sort(list)
    return list, learners
end

--- Waits until node i sees exactly these nodes as voters and nobody else.
function M.wait_voters(c, i, ids, seconds)
    local want = {}
    for k, id in ipairs(ids) do want[k] = c.nodes[id].address end
    table.sort(want)
    process.wait_for("the voters are " .. table.concat(want, " "), seconds or 30, function()
        local ok, list, learners = pcall(M.voters, c, i)
        if not ok then return nil, "no answer" end
        return learners == 0 and table.concat(list, " ") == table.concat(want, " "), table.concat(list, " ")
    end)
end

-- ---- Bookings that go on -------------------------------------------------------------------

local SEATS = 20000

--- Makes event "load" with more seats than will be booked.
function M.stage(c)
    local rows = {}
    for r = 1, SEATS / 1000 do rows[r] = ('{"row":"R%d-","seats":1000}'):format(r) end
    c:must(1, "add-event", "load", "[" .. table.concat(rows, ",") .. "]")
end

local Load = {}
Load.__index = Load

--- Books one seat after the other through whichever node answers, in a process of its own, for
--- at most `seconds`. Only what was acknowledged is noted.
function M.load(c, seconds)
    local ports = {}
    for i, node in ipairs(c.nodes) do ports[i] = node.port end
    local self = setmetatable({ c = c, out = c.dir .. "/acknowledged", stop_file = c.dir .. "/stop" }, Load)
    os.remove(self.stop_file)
    self.process = process.start({ "/usr/bin/env", "lua5.4", "spec/support/loader.lua", table.concat(ports, ","),
        self.out, self.stop_file, tostring(seconds or 120) }, { out = c.dir .. "/loader.log" })
    return self
end

--- Ends it and compares: nothing that was acknowledged is missing. Returns how many there were.
function Load:check()
    cluster.write(self.stop_file, "")
    assert(self.process:wait(40) == 0, self.process:output())
    local taken, n = nil, 0
    process.wait_for("the seats can be read", 30, function()
        for i in ipairs(self.c.nodes) do
            local reply = self.c:running(i) and not self.c.nodes[i].paused
                and M.ask(self.c, i, "seats", "load", "--linearizable")
            if reply then taken = reply.taken return true end
        end
    end)
    for line in io.lines(self.out) do
        n = n + 1
        if taken[line] ~= "booked" then
            error("the acknowledged booking of " .. line .. " is lost\n" .. self.c:logs(), 2)
        end
    end
    return n
end

return M
