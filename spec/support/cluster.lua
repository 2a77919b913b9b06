--- Real clusters of real processes on free loopback ports with data on a real disk.
local process = require "spec.support.process"
local resp = require "spec.support.resp"
local socket = require "socket"
local uv = require "luv"
local json = require "cjson"

local M = { usher = os.getenv("USHER") or "./usher" }

local Cluster = {}
Cluster.__index = Cluster

local serial = 0

--- A fresh directory below build/tmp: beside the program, on the disk it was built on.
function M.directory()
    serial = serial + 1
    local path = ("build/tmp/spec-%d-%d"):format(uv.os_getpid(), serial)
    os.execute(("rm -rf '%s' && mkdir -p '%s'"):format(path, path))
    return path
end

local given = {} -- ports: the system may choose the same one again at once

--- A port nobody listens on now.
function M.free_port()
    local server = assert(socket.bind("127.0.0.1", 0))
    local _, port = server:getsockname()
    server:close()
    port = math.tointeger(tonumber(port))
    if given[port] then return M.free_port() end
    given[port] = true
    return port
end

local write = require("spec.support.files").write
M.write = write

---@alias NodeEnv fun(i: integer): table<string, string>

--- Makes a cluster of `n` nodes; `profile` is Lua text put into the profile's table; at most `files`
--- descriptors each.
---@param options { n: integer?, profile: string?, start: boolean?, files: integer?, env: NodeEnv? }?
function M.new(options)
    options = options or {}
    local self = setmetatable({ dir = M.directory(), nodes = {}, n = options.n or 3, env = options.env,
        files = options.files }, Cluster)
    local list = {}
    for i = 1, self.n do
        local port = M.free_port()
        self.nodes[i] = { port = port, address = "localhost:" .. port, id = i - 1 }
        list[i] = ("%q"):format(self.nodes[i].address)
    end
    self.config = self.dir .. "/config.lua"
    write(self.config, ("return { default = { nodes = { %s }, data = %q, %s } }\n"):format(
        table.concat(list, ", "), self.dir, options.profile or ""))
    if options.start ~= false then
        for i = 1, self.n do self:start(i) end
        self:ready()
    end
    return self
end

--- Starts node i (1-based) as its own process.
function Cluster:start(i, ...)
    local node = self.nodes[i]
    node.log = ("%s/node-%d.log"):format(self.dir, i - 1)
    local argv = { M.usher, "node", "--id", tostring(i - 1), "--file", self.config, "--no-console", ... }
    if self.files then
        argv = { "sh", "-c", ('ulimit -n %d; exec "$0" "$@"'):format(self.files), table.unpack(argv) }
    end
    node.process = process.start(argv, { out = node.log, env = self.env and self.env(i) })
    return node
end

--- The last lines of every node's log, for a failure's message.
function Cluster:logs()
    local parts = {}
    for i, node in ipairs(self.nodes) do
        local lines = {}
        for line in (node.process and node.process:output() or ""):gmatch("[^\n]+") do lines[#lines + 1] = line end
        parts[#parts + 1] = ("--- node %d (%s)"):format(i - 1, node.address)
        for k = math.max(1, #lines - 25), #lines do parts[#parts + 1] = lines[k] end
    end
    return table.concat(parts, "\n")
end

--- A connection to node i; nil and why when it cannot be had.
function Cluster:connect(i, seconds)
    return resp.connect(self.nodes[i].port, seconds)
end

--- One command to node i on a connection of its own.
function Cluster:call(i, ...)
    local client, why = self:connect(i)
    if not client then return nil, why end
    local reply, err = client:call(...)
    client:close()
    return reply, err
end

function Cluster:json(i, ...)
    local reply, why = self:call(i, ...)
    if not reply then return nil, why end
    return json.decode(reply)
end

--- As call(), but a failure is an error with the nodes' logs.
function Cluster:must(i, ...)
    local reply, why = self:json(i, ...)
    if reply == nil then
        error(table.concat({ ... }, " ") .. ": " .. tostring(why) .. "\n" .. self:logs(), 2)
    end
    return reply
end

function Cluster:running(i)
    local node = self.nodes[i]
    return node.process ~= nil and node.process:ended() == nil
end

--- Waits until linearizable reads are answered through every running node.
function Cluster:ready(seconds)
    local ok, err = pcall(process.wait_for, "the cluster is ready", seconds or 30, function()
        for i in ipairs(self.nodes) do
            if self:running(i) and not self.nodes[i].paused then
                local reply, why = self:call(i, "events", "--linearizable")
                if not reply then return nil, why end
            end
        end
        return true
    end)
    if not ok then error(err .. "\n" .. self:logs(), 2) end
end

--- Number of the node that leads, as a majority's view of one of them tells.
function Cluster:leader(seconds)
    return process.wait_for("there is a leader", seconds or 10, function()
        for i in ipairs(self.nodes) do
            if self:running(i) and not self.nodes[i].paused then
                local status = self:json(i, "status")
                if status and status.role == "leader" and status.ready then return i end
            end
        end
    end)
end

--- Some node that does not lead.
function Cluster:follower()
    local leader = self:leader()
    return leader % self.n + 1
end

function Cluster:kill(i)
    local node = self.nodes[i]
    node.process:kill()
    node.process:wait(10)
end

--- Asks node i to stop and waits; returns its exit status.
function Cluster:stop(i)
    local node = self.nodes[i]
    node.process:terminate()
    return node.process:wait(20)
end

function Cluster:pause(i)
    self.nodes[i].paused = true
    self.nodes[i].process:pause()
end

function Cluster:resume(i)
    self.nodes[i].paused = nil
    self.nodes[i].process:resume()
end

--- Ends every process; removes the data unless something failed.
function Cluster:close()
    for i, node in ipairs(self.nodes) do
        if node.paused then self:resume(i) end
        if self:running(i) then node.process:terminate() end
    end
    local dirty
    for i, node in ipairs(self.nodes) do
        if node.process and not node.process:ended() then
            local ok, err = pcall(node.process.wait, node.process, 20)
            if not ok then dirty = err end
        end
        local text = node.process and node.process:output() or ""
        if text:find("ERROR: AddressSanitizer", 1, true) or text:find("runtime error:", 1, true) or
            text:find("assertion failed", 1, true) or text:find("LeakSanitizer", 1, true) then
            dirty = ("node %d: a sanitizer or an assertion spoke"):format(i - 1)
        end
    end
    if dirty then error(dirty .. "\n" .. self:logs(), 2) end
    os.execute("rm -rf '" .. self.dir .. "'")
end

--- The address list for the program's --at.
function Cluster:addresses()
    local list = {}
    for i, node in ipairs(self.nodes) do list[i] = node.address end
    return table.concat(list, ",")
end

--- Runs the program as a client of this cluster.
---@return integer status, string stdout, string stderr
function Cluster:run(...)
    return process.run({ M.usher, ... }, { env = { USHER_ADDR = self:addresses() } })
end

return M
