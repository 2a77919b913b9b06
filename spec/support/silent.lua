--- A peer that greets a client, takes its command and says no more.
local uv = require "luv"

local M = {}

--- `on_command` is told the bytes of each command. Runs while process.run() and its like do.
---@param on_command fun(bytes: string)
function M.listen(on_command)
    local peer, links = assert(uv.new_tcp()), {}
    assert(peer:bind("127.0.0.1", 0))
    peer:listen(8, function()
        local link = uv.new_tcp()
        links[#links + 1] = link
        peer:accept(link)
        link:read_start(function(_, bytes)
            if bytes and bytes:find("PING", 1, true) then
                link:write("+PONG\r\n")
            elseif bytes then
                on_command(bytes)
            end
        end)
    end)
    local self = { address = ("127.0.0.1:%d"):format(peer:getsockname().port) }
    function self.close()
        if peer:is_closing() then return end
        peer:close()
        for _, link in ipairs(links) do link:close() end
    end
    return self
end

return M
