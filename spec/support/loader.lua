--- Books seats one after the other until told to stop: lua5.4 loader.lua PORTS OUT STOPFILE SECONDS
--- Every request has an id and is sent again, to another node, until it has an answer.
package.path = "./?.lua;" .. package.path
local process = require "spec.support.process"
local resp = require "spec.support.resp"

local ports, out, stop, seconds = arg[1], io.open(arg[2], "a"), arg[3], tonumber(arg[4])
local list, at, client = {}, 1, nil
for port in ports:gmatch("%d+") do list[#list + 1] = math.tointeger(tonumber(port)) end

local function stopped()
    local file = io.open(stop)
    if file then file:close() end
    return file ~= nil
end

--- The answer, or nil and a refusal that is final; false: no answer yet.
local function once(seat, id)
    client = client or resp.connect(list[at], 3)
    if client then
        local reply, why = client:call("book", "load", "loader", seat, "--request", id)
        if reply then return reply end
        local code = tostring(why):match("^%u+")
        if code == "TAKEN" or code == "BADARG" then return nil, why end
        if not code then
            client:close()
            client = nil
        end
    end
    at = at % #list + 1
    if client then
        client:close()
        client = nil
    end
    return false
end

local deadline, n = process.now() + seconds, 0
while process.now() < deadline and not stopped() do
    n = n + 1
    local seat = ("R%d-%d"):format((n - 1) // 1000 + 1, (n - 1) % 1000 + 1)
    local id = ("load-%d-%d"):format(math.floor(deadline * 1000), n)
    local patience = process.now() + 25
    while process.now() < patience do
        local reply, why = once(seat, id)
        if reply then
            out:write(seat, "\n")
            out:flush()
            break
        elseif reply == nil then
            io.stderr:write(seat, ": ", tostring(why), "\n")
            os.exit(1)
        end
        process.poll(0.05, function() return false end)
    end
end
