--- A small RESP2 client over plain sockets, for specs: sees errors, closes, partial replies.
local socket = require "socket"
local json = require "cjson"
local process = require "spec.support.process"

local Client = {}
Client.__index = Client

local M = { null = setmetatable({}, { __tostring = function() return "null" end }) }

--- Connects to 127.0.0.1:port; nil and why when nobody listens.
function M.connect(port, seconds)
    local tcp = assert(socket.tcp())
    tcp:settimeout(5)
    local ok, why = tcp:connect("127.0.0.1", port)
    if not ok then
        tcp:close()
        return nil, why
    end
    tcp:setoption("tcp-nodelay", true)
    return setmetatable({ tcp = tcp, buffer = "", seconds = seconds or 10 }, Client)
end

function Client:close()
    if self.tcp then self.tcp:close() end
    self.tcp = nil
end

--- Sends raw bytes; nil and why when they cannot be sent within the client's time.
function Client:write(bytes)
    self.tcp:settimeout(self.seconds)
    local n, why = self.tcp:send(bytes)
    if not n then return nil, why end
    return true
end

function Client:send(...)
    local words = table.pack(...)
    local parts = { "*" .. words.n .. "\r\n" }
    for i = 1, words.n do
        local word = tostring(words[i])
        parts[#parts + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
    end
    return self:write(table.concat(parts))
end

--- More bytes into the buffer; nil, "closed" | "timeout".
function Client:fill(deadline)
    self.tcp:settimeout(math.max(0, deadline - process.now()))
    local first, why = self.tcp:receive(1)
    if not first then return nil, why end
    self.tcp:settimeout(0)
    local whole, _, part = self.tcp:receive(1 << 16)
    self.buffer = self.buffer .. first .. (whole or part or "")
    return true
end

local function line_of(client, deadline)
    while true do
        local at = client.buffer:find("\r\n", 1, true)
        if at then
            local line = client.buffer:sub(1, at - 1)
            client.buffer = client.buffer:sub(at + 2)
            return line
        end
        local ok, why = client:fill(deadline)
        if not ok then return nil, why end
    end
end

--- One reply: a string, number, list, M.null; or nil, error text.
function Client:receive(seconds)
    local deadline = process.now() + (seconds or self.seconds)
    local line, why = line_of(self, deadline)
    if not line then return nil, why end
    local kind, rest = line:sub(1, 1), line:sub(2)
    if kind == "+" then return rest end
    if kind == "-" then return nil, rest end
    if kind == ":" then return math.tointeger(tonumber(rest)) end
    local n = tonumber(rest)
    if n == -1 then return M.null end
    if kind == "$" then
        while #self.buffer < n + 2 do
            local ok, reason = self:fill(deadline)
            if not ok then return nil, reason end
        end
        local text = self.buffer:sub(1, n)
        self.buffer = self.buffer:sub(n + 3)
        return text
    end
    local list = {}
    for i = 1, n do
        local item, reason = self:receive(deadline - process.now())
        if item == nil then return nil, reason end
        list[i] = item
    end
    return list
end

--- Sends a command and waits for its reply.
function Client:call(...)
    local ok, why = self:send(...)
    if not ok then return nil, why end
    return self:receive()
end

--- The same with the answer decoded from JSON.
function Client:json(...)
    local reply, why = self:call(...)
    if not reply then return nil, why end
    return json.decode(reply)
end

return M
